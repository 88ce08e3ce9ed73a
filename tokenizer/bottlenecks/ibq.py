"""A codebook in which every code learns from every feature (index backpropagation).

Letters: B batch, C channels, S the latent's grid, N = B * S positions, K codes.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core import distributed
from tokenizer.core.config import Config
from tokenizer.layers.codebook import count, to_grid, to_rows, usage_stats
from tokenizer.layers.precision import full_precision

# Scores held at once, a block of positions by all codes: 256 MiB of float32.
BLOCK = 2**26


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a block of N' positions chose.

    Attributes:
        q: (N', C) their codes; the gradient goes through the softmax over all codes.
        indices: (N',) int64.
        sample_entropy: sum over positions of the entropy of their sharpened distribution, scalar.
        mean: (K,) sum over positions of that distribution.
    """

    q: Tensor
    indices: Tensor
    sample_entropy: Tensor
    mean: Tensor


class IBQ(nn.Module):
    """h -> the code of the largest dot product, with the gradient of the softmax over all codes.

    With p = softmax(h C^T), one-hot a of the largest and q = (a + p - sg(p)) C, the loss is
    |q - h|^2 + |sg(aC) - h|^2 + commitment |aC - sg(h)|^2, means, + entropy (E[H(p')] - H(E[p'])), where
    p' = softmax(h C^T / temperature) and E is the mean over positions, in H(E[p']) over those of all processes.
    In training positions go in blocks, computed again in the backward pass, so that memory is a block of scores
    and not N x K of them.

    Args:
        codebook_size: K.
        channels: C.
        commitment: weight of the codes' way to the features.
        entropy: weight of the entropies.
        temperature: of the distribution whose entropies are meant.
        init_std: codes begin normal with this deviation; None: uniform in [-1/K, 1/K], as released. Scores are dot
            products, so codes of few channels that begin near 0 hardly tell features apart.

    Source: Shi et al. 2024, Scalable Image Tokenization with Index Backpropagation Quantization,
    arXiv 2412.02692, section 3.2 and its released training code.
    """

    def __init__(
        self,
        codebook_size: int,
        channels: int,
        *,
        commitment: float = 0.25,
        entropy: float = 0.05,
        temperature: float = 0.01,
        init_std: float | None = None,
        block: int = BLOCK,
    ) -> None:
        super().__init__()
        self.commitment, self.entropy, self.temperature = commitment, entropy, temperature
        self.block = block
        self.input_channels = channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(codebook_size)
        codes = torch.empty(codebook_size, channels)
        if init_std is None:
            codes.uniform_(-1.0 / codebook_size, 1.0 / codebook_size)
        else:
            codes.normal_(std=init_std)
        self.codebook = nn.Parameter(codes)

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn."""
        with full_precision(h.device):
            rows, codebook = to_rows(h), self.codebook.float()
            parts = torch.split(rows, max(1, self.block // len(codebook)))
            blocks = [self._block(part, codebook) for part in parts]
            q = torch.cat([block.q for block in blocks])
            indices = torch.cat([block.indices for block in blocks])
            hard = codebook[indices]
            loss = F.mse_loss(q, rows) + F.mse_loss(rows, hard.detach())
            loss = loss + self.commitment * F.mse_loss(hard, rows.detach())
            undecided = torch.stack([block.sample_entropy for block in blocks]).sum() / len(rows)
            mean = torch.stack([block.mean for block in blocks]).sum(dim=0) / len(rows)
            chosen = count(indices, len(codebook))
            if self.training:
                mean, chosen = distributed.mean(mean), distributed.total(chosen)
            spread = torch.special.entr(mean.clamp_min(1e-12)).sum()
            loss = loss + self.entropy * (undecided - spread)
        stats = {"sample_entropy": undecided.detach(), "batch_entropy": spread.detach()}
        return BottleneckOutput(
            z=to_grid(q, h.shape).to(h.dtype),
            loss=loss,
            indices=indices.view(h.shape[0], *h.shape[2:]),
            stats=usage_stats(chosen) | stats,
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, *grid) -> z (B, C, *grid)."""
        return self.codebook[indices.long()].movedim(-1, 1)

    def _block(self, rows: Tensor, codebook: Tensor) -> Chosen:
        if torch.is_grad_enabled():
            parts = checkpoint(choose, rows, codebook, self.temperature, use_reentrant=False)
        else:
            parts = choose(rows, codebook, self.temperature)
        return Chosen(*parts)


def choose(rows: Tensor, codebook: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of ``Chosen`` for rows (N', C) and codes (K, C)."""
    scores = rows @ codebook.T  # (N', K)
    indices = scores.argmax(dim=1)
    soft = scores.softmax(dim=1)
    hard = codebook[indices]
    q = hard.detach() + (hard - hard.detach()) + (soft - soft.detach()) @ codebook.detach()
    log_sharp = (scores / temperature).log_softmax(dim=1)
    sharp = log_sharp.exp()
    return q, indices, -(sharp * log_sharp).sum(), sharp.sum(dim=0)


class IBQConfig(Config):
    """All codes learn through the softmax over indices (IBQ, arXiv 2412.02692)."""

    kind: Literal["ibq"] = "ibq"
    codebook_size: int = Field(ge=2, description="codes")
    commitment: float = Field(default=0.25, ge=0, description="weight of the codes' way to the features")
    entropy: float = Field(
        default=0.05, ge=0, description="weight of decided positions and even codebook use"
    )
    temperature: float = Field(
        default=0.01, gt=0, description="of the distribution whose entropies are meant"
    )

    init_std: float | None = Field(
        default=None, gt=0, description="codes begin normal with it; none: uniform in [-1/K, 1/K]"
    )

    def build(self, latent_channels: int) -> IBQ:
        """The module."""
        return IBQ(
            self.codebook_size,
            latent_channels,
            commitment=self.commitment,
            entropy=self.entropy,
            temperature=self.temperature,
            init_std=self.init_std,
        )
