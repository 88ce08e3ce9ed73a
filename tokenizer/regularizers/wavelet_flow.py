"""The bands that flow beside a wavelet autoencoder: what the decoder adds up should be what the encoder took away.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tokenizer.layers.precision import full_precision
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class WaveletFlow(Regularizer):
    """Mean absolute error between the encoder's and the decoder's bands, summed over levels.

    Args:
        levels: names that layers of encoder and decoder share, whose outputs are the bands (B, C, T, H, W).

    Source: Li et al. 2024, WF-VAE, arXiv 2411.17459, section 3.3 (the wavelet loss).
    """

    def __init__(self, levels: tuple[str, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.layers = tuple(f"{side}.{level}" for side in ("encoder", "decoder") for level in levels)

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar >= 0."""
        pairs = [(step.extras[f"encoder.{level}"], step.extras[f"decoder.{level}"]) for level in self.levels]
        with full_precision(step.x_hat.device):
            terms = [F.l1_loss(told.float(), taken.float()) for taken, told in pairs]
        return sum(terms[1:], terms[0])


class WaveletFlowConfig(RegularizerSettings):
    """Encoder and decoder agree on the bands of their energy flow (WF-VAE, arXiv 2411.17459)."""

    kind: Literal["wavelet_flow"] = "wavelet_flow"
    levels: tuple[str, ...] = Field(
        default=("bands_1", "bands_2"), min_length=1, description="layers that both networks have"
    )

    def build(self, part: PartSpec) -> WaveletFlow:
        """The regularizer."""
        return WaveletFlow(self.levels)
