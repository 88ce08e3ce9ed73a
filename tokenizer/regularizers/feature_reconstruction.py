"""The squared error of the features that a model decodes on its way to pixels.

Letters: B batch, C channels, H' W' the features' grid.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tokenizer.layers.precision import full_precision
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class FeatureReconstruction(Regularizer):
    """Mean squared error between the outputs of two layers, the encoder's features held fixed.

    Args:
        source: the layer whose output is right.
        told: the layer whose output should equal it.

    Source: Gao et al. 2025, One Layer Is Enough: Adapting Pretrained Visual Encoders for Image Generation (FAE),
    arXiv 2512.07829, section 3 (the feature decoder's loss).
    """

    def __init__(self, source: str, told: str) -> None:
        super().__init__()
        self.layers = (source, told)

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar >= 0, in units of the features squared."""
        wanted, told = (step.extras[name] for name in self.layers)
        with full_precision(told.device):
            return F.mse_loss(told.float(), wanted.detach().float())


class FeatureReconstructionConfig(RegularizerSettings):
    """A decoder gives back the features that its encoder began with (FAE, arXiv 2512.07829)."""

    kind: Literal["feature_reconstruction"] = "feature_reconstruction"
    source: str = Field(default="encoder.features", description="layer of the model with the right features")
    told: str = Field(default="decoder.features", description="layer that should give them back")

    def build(self, part: PartSpec) -> FeatureReconstruction:
        """The regularizer."""
        return FeatureReconstruction(self.source, self.told)
