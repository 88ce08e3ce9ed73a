"""Codes placed by optimal transport: the codebook as a distribution that the latents' distribution should equal.

Letters: B batch, C channels, S the latent's grid, N = B * S positions, K codes.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core import distributed
from tokenizer.core.config import Config
from tokenizer.layers.codebook import (
    Codebook,
    Initialization,
    count,
    to_grid,
    to_rows,
    usage_stats,
)
from tokenizer.layers.estimators import Estimator, estimate
from tokenizer.layers.precision import full_precision
from tokenizer.layers.sinkhorn import dual, solve


class VQWAE(nn.Module):
    """h -> its nearest codes; the loss is a Wasserstein distance between features and weighted codes.

    The loss is weight * W(features, sum_k pi_k delta(c_k)) + evenness * KL(pi, uniform), with the squared
    distance (a mean over channels) as cost and learned pi = softmax(logits). W is smoothed by entropy: with
    strength epsilon times the mean cost, solved by Sinkhorn's iteration from where the last step ended. It moves
    features and all codes towards each other; each code must take its share pi_k of the features, so none dies.

    One distribution serves all positions, so that any grid can be encoded; the paper has one a position.

    Args:
        book: the codes, a parameter.
        weight: of the Wasserstein distance.
        evenness: of the divergence of pi from the uniform distribution.
        epsilon: strength of the entropy in units of the mean cost.
        rounds: Sinkhorn iterations a step.
        estimator: gradient through the choice of a code.

    Source: Vuong et al. 2023, Vector Quantized Wasserstein Auto-Encoder, arXiv 2302.05917, section 3.
    """

    def __init__(
        self,
        book: Codebook,
        *,
        weight: float,
        evenness: float,
        epsilon: float,
        rounds: int,
        estimator: Estimator,
    ) -> None:
        super().__init__()
        self.book = book
        self.logits = nn.Parameter(torch.zeros(book.size))
        self.register_buffer("potential", torch.zeros(book.size))
        self.potential: Tensor
        self.weight, self.evenness = weight, evenness
        self.epsilon, self.rounds = epsilon, rounds
        self.estimator: Estimator = estimator
        self.input_channels = book.channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(book.size)

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn."""
        with full_precision(h.device):
            rows = to_rows(h)  # (N, C)
            follows = self.book.follows(rows)
            if follows:
                self.book.prepare(rows)
            indices = self.book.search(rows)
            log_pi = self.logits.float().log_softmax(dim=0)
            distance = self._transport(rows, log_pi)
            divergence = (log_pi.exp() * (log_pi + math.log(self.book.size))).sum()
            z = estimate(self.estimator, rows, self.book.lookup(indices))
            chosen = self.book.learn(rows, indices) if follows else count(indices, self.book.size)
        stats = {"wasserstein": distance.detach(), "kl_uniform": divergence.detach()}
        return BottleneckOutput(
            z=to_grid(z, h.shape).to(h.dtype),
            loss=self.weight * distance + self.evenness * divergence,
            indices=indices.view(h.shape[0], *h.shape[2:]),
            stats=usage_stats(chosen) | stats,
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, *grid) -> z (B, C, *grid)."""
        return self.book.lookup(indices.long()).to(self.book.codebook.dtype).movedim(-1, 1)

    def _transport(self, rows: Tensor, log_pi: Tensor) -> Tensor:
        """The smoothed distance between features (N, C) and the weighted codes, scalar."""
        cost = mean_square_distance(rows, self.book.codebook.float())
        scale = cost.detach().mean()
        if self.training:
            scale = distributed.total(scale) / distributed.num_processes()
        epsilon = self.epsilon * scale.clamp_min(1e-12)
        potential = self.potential.float()
        if self.training:
            potential = solve(cost.detach(), log_pi.detach(), epsilon, potential, self.rounds)
            self.potential.copy_(potential)
        return dual(cost, log_pi, epsilon, potential)


def mean_square_distance(rows: Tensor, codes: Tensor) -> Tensor:
    """Squared distances (N, K) of rows (N, C) and codes (K, C), divided by C."""
    middle = codes.detach().mean(dim=0)
    rows, codes = rows - middle, codes - middle
    squares = rows.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
    return (squares - 2.0 * rows @ codes.T).clamp_min(0.0) / rows.shape[1]


class VQWAEConfig(Config):
    """Codes placed by optimal transport to the features (VQ-WAE, arXiv 2302.05917)."""

    kind: Literal["vq_wae"] = "vq_wae"
    codebook_size: int = Field(ge=2, description="codes")
    weight: float = Field(default=1.0, ge=0, description="of the Wasserstein distance")
    evenness: float = Field(default=0.1, ge=0, description="of KL(pi, uniform), pi the codes' shares")
    epsilon: float = Field(default=0.02, gt=0, description="strength of the entropy, in mean costs")
    rounds: int = Field(default=10, ge=1, description="Sinkhorn iterations a step")
    estimator: Estimator = Field(
        default="straight_through", description="gradient through the choice of a code"
    )
    initialization: Initialization = Field(
        default="uniform", description="or from the first batch's features"
    )

    def build(self, latent_channels: int) -> VQWAE:
        """The module."""
        return VQWAE(
            Codebook(self.codebook_size, latent_channels, initialization=self.initialization),
            weight=self.weight,
            evenness=self.evenness,
            epsilon=self.epsilon,
            rounds=self.rounds,
            estimator=self.estimator,
        )
