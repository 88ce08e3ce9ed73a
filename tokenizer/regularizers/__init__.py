"""Every regularizer of a training pass. A new one is a file here, a member of the union, and a test."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tokenizer.model import StepOutput
from tokenizer.regularizers.alignment import AlignmentConfig
from tokenizer.regularizers.ar_prior import ARPriorConfig
from tokenizer.regularizers.base import Regularizer
from tokenizer.regularizers.consistency import LatentConsistencyConfig
from tokenizer.regularizers.dropping import ChannelDroppingConfig
from tokenizer.regularizers.equivariance import EquivarianceConfig
from tokenizer.regularizers.feature_reconstruction import FeatureReconstructionConfig
from tokenizer.regularizers.feature_targets import FeatureTargetsConfig
from tokenizer.regularizers.image_compatibility import ImageCompatibilityConfig
from tokenizer.regularizers.noise import LatentNoiseConfig
from tokenizer.regularizers.token_dropping import TokenDroppingConfig
from tokenizer.regularizers.token_masking import TokenMaskingConfig
from tokenizer.regularizers.vision_foundation import VisionFoundationConfig
from tokenizer.regularizers.wavelet_flow import WaveletFlowConfig
from tokenizer.spec import PartSpec

RegularizerConfig = Annotated[
    AlignmentConfig
    | ARPriorConfig
    | ChannelDroppingConfig
    | EquivarianceConfig
    | FeatureReconstructionConfig
    | FeatureTargetsConfig
    | ImageCompatibilityConfig
    | LatentConsistencyConfig
    | LatentNoiseConfig
    | TokenDroppingConfig
    | TokenMaskingConfig
    | VisionFoundationConfig
    | WaveletFlowConfig,
    Field(discriminator="kind"),
]


def build_regularizers(configs: Sequence[RegularizerConfig], part: PartSpec) -> dict[str, Regularizer]:
    """A phase's regularizers by kind, in order, for a latent of this part.

    Raises:
        ValueError: if a kind is named twice.
    """
    kinds = [config.kind for config in configs]
    if len(set(kinds)) != len(kinds):
        raise ValueError(f"regularizers must not name a kind twice, got {kinds}")
    return {config.kind: config.build(part) for config in configs}


def total_penalty(configs: Sequence[RegularizerConfig], step: StepOutput) -> Tensor:
    """The penalties of a pass, weighted and summed: a float32 scalar."""
    weights: dict[str, float] = {config.kind: config.weight for config in configs}
    total = step.x_hat.new_zeros((), dtype=torch.float32)
    for kind, value in step.penalties.items():
        total = total + weights[kind] * value
    return total


__all__ = ["RegularizerConfig", "build_regularizers", "total_penalty"]
