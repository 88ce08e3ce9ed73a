"""Codes that share one linear layer: the codebook is frozen, and what is learned moves all of it (SimVQ).

Letters: B batch, C channels, S the latent's grid, N = B * S positions, K codes.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core import distributed
from tokenizer.core.config import Config
from tokenizer.layers.codebook import count, to_grid, to_rows, usage_stats
from tokenizer.layers.estimators import Estimator, estimate
from tokenizer.layers.nearest import nearest
from tokenizer.layers.precision import full_precision


class SimVQ(nn.Module):
    """h -> the nearest row of A W, with A (K, C) drawn once and frozen, and W (C, C) learned.

    A gradient for one code moves W and with it every code, so that none is left behind. The loss is
    |sg(h) - q|^2 + commitment |h - sg(q)|^2, means over channels and positions.

    Args:
        codebook_size: K.
        channels: C.
        commitment: beta, weight of the features' way to their codes.
        estimator: gradient through the choice of a code.

    Source: Zhu et al. 2024, Addressing Representation Collapse in Vector Quantized Models with One Linear Layer,
    arXiv 2411.02038, section 4.
    """

    basis: Tensor

    def __init__(
        self,
        codebook_size: int,
        channels: int,
        *,
        commitment: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        super().__init__()
        self.commitment = commitment
        self.estimator: Estimator = estimator
        self.input_channels = channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(codebook_size)
        self.register_buffer("basis", torch.randn(codebook_size, channels) * channels**-0.5)
        self.projection = nn.Linear(channels, channels, bias=False)

    @property
    def codebook(self) -> Tensor:
        """A W, (K, C) float32, with gradient."""
        return F.linear(self.basis.float(), self.projection.weight.float())

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn."""
        with full_precision(h.device):
            rows, codebook = to_rows(h), self.codebook
            indices = nearest(rows.detach(), codebook.detach())[0]
            q = codebook[indices]
            loss = F.mse_loss(q, rows.detach()) + self.commitment * F.mse_loss(rows, q.detach())
            z = estimate(self.estimator, rows, q)
            chosen = count(indices, len(codebook))
            if self.training:
                chosen = distributed.total(chosen)
        return BottleneckOutput(
            z=to_grid(z, h.shape).to(h.dtype),
            loss=loss,
            indices=indices.view(h.shape[0], *h.shape[2:]),
            stats=usage_stats(chosen),
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, *grid) -> z (B, C, *grid)."""
        with full_precision(indices.device):
            return self.codebook[indices.long()].to(self.projection.weight.dtype).movedim(-1, 1)


class SimVQConfig(Config):
    """A frozen codebook behind one learned linear layer (SimVQ, arXiv 2411.02038)."""

    kind: Literal["simvq"] = "simvq"
    codebook_size: int = Field(ge=2, description="codes")
    commitment: float = Field(default=0.25, ge=0, description="weight of the features' way to their codes")
    estimator: Estimator = Field(
        default="straight_through", description="gradient through the choice of a code"
    )

    def build(self, latent_channels: int) -> SimVQ:
        """The module."""
        return SimVQ(
            self.codebook_size, latent_channels, commitment=self.commitment, estimator=self.estimator
        )
