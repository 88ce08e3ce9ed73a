"""A codebook of its own for every token: what a token may say depends on which one it is.

Letters: B batch, C channels, S the latent's grid, n = |S| <= N tokens, K codes a token.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core import distributed, seeding
from tokenizer.core.config import Config
from tokenizer.layers.estimators import Estimator, estimate
from tokenizer.layers.precision import full_precision

APART = 1e-4  # how far the two halves of a split code begin from each other, at most


class TokenVQ(nn.Module):
    """Token i -> the nearest code of codebook i.

    The loss is codebook |sg(h) - q|^2 + commitment |h - sg(q)|^2, means over channels, tokens and batch. Every so many
    training passes each codebook splits cells: a code that nothing moved since takes the place of one that was
    moved much, a little beside it, so that the cell of the latter is shared; the most moved are split first, once each.

    Args:
        tokens: N.
        codebook_size: K.
        channels: C.
        commitment: weight of the features' way to their codes.
        codebook: weight of the codes' way to their features.
        estimator: gradient through the choice of a code.
        split_every: training passes; 0: never.

    Source: Elsner et al. 2024, Quantised Global Autoencoder: A Holistic Approach to Representing Visual Data, arXiv
    2407.11913 (a codebook for each token, cells that are split), and its released code (weights, what is split).
    """

    moved: Tensor
    passes: Tensor

    def __init__(
        self,
        tokens: int,
        codebook_size: int,
        channels: int,
        *,
        commitment: float = 1.0,
        codebook: float = 0.25,
        estimator: Estimator = "straight_through",
        split_every: int = 100,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.commitment = commitment
        self.codebook_weight = codebook
        self.estimator: Estimator = estimator
        self.split_every = split_every
        self.input_channels = channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(codebook_size)
        self.codebooks = nn.Parameter(torch.rand(tokens, codebook_size, channels) - 0.5)
        self.register_buffer("moved", torch.zeros(tokens, codebook_size))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn.

        Raises:
            ValueError: if there are more tokens than codebooks.
        """
        with full_precision(h.device):
            rows = h.float().flatten(2).permute(2, 0, 1)  # (n, B, C)
            books = self._books(len(rows))
            indices = _nearest(rows.detach(), books.detach())  # (n, B)
            q = _lookup(books, indices)
            loss = self.codebook_weight * F.mse_loss(q, rows.detach()) + self.commitment * F.mse_loss(
                rows, q.detach()
            )
            z = estimate(self.estimator, rows, q)
            chosen = _counts(indices, books.shape[1])
            if self.training:
                chosen = distributed.total(chosen)
                if self.codebooks.requires_grad and torch.is_grad_enabled():
                    self._learn(rows.detach(), q.detach(), indices)
        share = chosen / chosen.sum(dim=1, keepdim=True).clamp_min(1.0)
        return BottleneckOutput(
            z=z.permute(1, 2, 0).reshape(h.shape).to(h.dtype),
            loss=loss,
            indices=indices.T.reshape(h.shape[0], *h.shape[2:]).contiguous(),
            stats={
                "perplexity": torch.special.entr(share).sum(dim=1).exp().mean(),
                "used": (chosen > 0).float().mean(),
            },
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, *grid) -> z (B, C, *grid); ValueError as ``forward``."""
        rows = indices.long().flatten(1).T  # (n, B)
        z = _lookup(self._books(len(rows)).detach(), rows).permute(1, 2, 0)
        return z.reshape(len(indices), -1, *grid).to(self.codebooks.dtype)

    def _books(self, count: int) -> Tensor:
        """Codebooks (n, K, C) float32 of the first tokens."""
        if count > self.tokens:
            raise ValueError(
                f"there are codebooks for {self.tokens} tokens, the latent has {count}: set bottleneck.tokens"
            )
        return self.codebooks[:count].float()

    @torch.no_grad()
    def _learn(self, rows: Tensor, q: Tensor, indices: Tensor) -> None:
        """Note how far each code is drawn, and split cells when it is time."""
        count, _, channels = rows.shape
        drawn = torch.zeros(count, self.moved.shape[1], channels, device=rows.device)
        drawn.scatter_add_(1, indices.unsqueeze(2).expand(-1, -1, channels), q - rows)
        self.moved[:count] += distributed.total(drawn).abs().mean(dim=2).to(self.moved)
        self.passes += 1
        if self.split_every and int(self.passes) % self.split_every == 0:
            self._split()

    def _split(self) -> None:
        """Codes that nothing moved take the places of the most moved ones of their token, each of these once."""
        generator = seeding.generator("split", int(self.passes))
        noise = torch.rand(self.codebooks.shape, generator=generator).to(self.codebooks)
        order = self.moved.argsort(dim=1, descending=True, stable=True)  # (N, K)
        live = (self.moved > 0).sum(dim=1)  # (N,)
        turn = torch.arange(order.shape[1], device=order.device)
        dead = order.gather(1, (live.unsqueeze(1) + turn).clamp(max=order.shape[1] - 1))
        pairs = turn < torch.minimum(live, order.shape[1] - live).unsqueeze(
            1
        )  # the i-th dead, the i-th most moved
        token, place = pairs.nonzero(as_tuple=True)
        from_, to = order[token, place], dead[token, place]
        self.codebooks[token, to] = self.codebooks[token, from_] + APART * (2 * noise[token, to] - 1)
        self.moved.zero_()


def _nearest(rows: Tensor, books: Tensor) -> Tensor:
    """The nearest code of each row (n, B, C) in its token's book (n, K, C): (n, B) int64."""
    scores = torch.baddbmm(books.square().sum(dim=2).unsqueeze(1), rows, books.transpose(1, 2), alpha=-2.0)
    return scores.argmin(dim=2)


def _lookup(books: Tensor, indices: Tensor) -> Tensor:
    """Codes (n, B, C) of indices (n, B) in books (n, K, C)."""
    return books.gather(1, indices.unsqueeze(2).expand(-1, -1, books.shape[2]))


def _counts(indices: Tensor, size: int) -> Tensor:
    """How often each code of each token was chosen: (n, K) float32."""
    ones = torch.ones(indices.shape, device=indices.device)
    return torch.zeros(len(indices), size, device=indices.device).scatter_add_(1, indices, ones)


class TokenVQConfig(Config):
    """A codebook of its own for every token (QG-VAE, arXiv 2407.11913)."""

    kind: Literal["token_vq"] = "token_vq"
    tokens: int = Field(ge=1, description="of a latent, at most")
    codebook_size: int = Field(ge=2, description="codes of each token")
    commitment: float = Field(default=1.0, ge=0, description="weight of the features' way to their codes")
    codebook: float = Field(default=0.25, ge=0, description="weight of the codes' way to their features")
    estimator: Estimator = Field(
        default="straight_through", description="gradient through the choice of a code"
    )
    split_every: int = Field(
        default=100, ge=0, description="training passes between two splits of much used codes; 0: never"
    )

    def build(self, latent_channels: int) -> TokenVQ:
        """The module."""
        return TokenVQ(
            self.tokens,
            self.codebook_size,
            latent_channels,
            commitment=self.commitment,
            codebook=self.codebook,
            estimator=self.estimator,
            split_every=self.split_every,
        )
