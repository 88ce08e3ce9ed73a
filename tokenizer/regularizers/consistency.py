"""Latent consistency: a reconstruction shall encode to the latent that its picture encodes to.

Letters: B batch, S pixels' sides.
"""

from typing import Literal

import torch
from torch import Tensor

from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class LatentConsistency(Regularizer):
    """Half the mean squared distance of encode(x_hat) from encode(x), the latter held fixed.

    That is the divergence between Gaussians of unit variance around both latents, a value. The paper's loss is
    the divergence between the two posteriors; with one variance for both, it works with any bottleneck. It costs
    two more passes through the encoder, one of them with a gradient.

    Source: Wu et al. 2025, H3AE: High Compression, High Speed, and High Quality AutoEncoder for Video Diffusion
    Models, arXiv 2504.10567, equation 3.
    """

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar >= 0, in units of the raw latent squared."""
        z_hat = encode(step.x_hat).float()
        with torch.no_grad():
            z = encode(step.target).float()
        return 0.5 * (z_hat - z).square().mean()


class LatentConsistencyConfig(RegularizerSettings):
    """Reconstructions that encode as their pictures do (latent consistency of H3AE, arXiv 2504.10567)."""

    kind: Literal["latent_consistency"] = "latent_consistency"

    def build(self, part: PartSpec) -> LatentConsistency:
        """The regularizer."""
        return LatentConsistency()
