"""CLIP maximum mean discrepancy: no Gaussian is assumed, and few pictures are enough.

Source: Jayasumana et al. 2024, Rethinking FID: Towards a Better Evaluation Metric for Image Generation, arXiv
2401.09603, section 4 (Gaussian kernel of sigma 10 on CLIP ViT-L/14-336 embeddings of length 1, the biased estimate,
times 1000).

Letters: N and M pictures, E width of an embedding.
"""

from functools import partial

import torch
from torch import Tensor

from eval import mmd
from eval.encoders import load_clip
from eval.metrics.score import Score
from eval.metrics.sets import SetComparison, around
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig


def gaussian_kernel(x: Tensor, y: Tensor, *, sigma: float = 10.0) -> Tensor:
    """(N, E), (M, E) float64 -> (N, M): exp(-|x - y|^2 / (2 sigma^2))."""
    squares = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1) - 2.0 * (x @ y.T)
    return torch.exp(-squares.clamp(min=0.0) / (2.0 * sigma**2))


def cmmd_score(protocol: EvaluationProtocol, real: Tensor, fake: Tensor) -> Score:
    """CMMD of embeddings (N, E) and (M, E), in the published scale."""
    settings = protocol.cmmd
    kernel = partial(gaussian_kernel, sigma=settings.sigma)
    value = settings.scale * mmd.squared_mmd(real, fake, kernel, unbiased=False)
    spread = settings.scale * mmd.jackknife_std(real, fake, kernel, unbiased=False)
    details: dict[str, float | int | str] = {
        "num_real": len(real),
        "num_fake": len(fake),
        "features": "CLIP ViT-L/14 at 336, length 1",
        "interval": f"value +- 1.96 standard errors by the jackknife over {mmd.BLOCKS} blocks",
    }
    return Score(value, around(value, spread), len(fake), details)


def load_cmmd(protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device) -> SetComparison:
    """CMMD over CLIP.

    Raises:
        NotComputedError: if its weights or timm are not on this machine.
    """
    encoder = load_clip(weights, device)
    return SetComparison(
        protocol,
        encoder,
        (encoder.record,),
        partial(cmmd_score, protocol),
        output="clip",
        domain="uint8",
    )
