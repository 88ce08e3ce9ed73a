"""Several codes a position, each for what the codes before it left over (residual quantization).

Letters: B batch, C channels, S the latent's grid, N = B * S positions, Q codes a position, K codes in a codebook.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.layers.codebook import Codebook, CodebookConfig, count, to_grid, to_rows, usage_stats
from tokenizer.layers.estimators import Estimator, estimate
from tokenizer.layers.precision import full_precision


class ResidualVQ(nn.Module):
    """h -> the sum of Q codes, from coarse to fine.

    The loss is the mean over levels d of |sg(r) - q_d|^2 (where codes are a parameter) + commitment |r - sg(q_d)|^2,
    r what the levels before left of h.

    Args:
        books: one codebook that all levels share, or one a level.
        num_codebooks: Q.
        commitment: weight of the features' way to their codes.
        estimator: gradient through the choice of codes, applied once to their sum.
        dropout: share of the training samples that are sent with fewer codes, 1 to Q of them equally often.

    Source: Lee et al. 2022, Autoregressive Image Generation using Residual Quantization, arXiv 2203.01941,
    section 3.1; Zeghidour et al. 2021, SoundStream, arXiv 2107.03312, section III.C (fewer codes in training);
    Kumar et al. 2023, Improved RVQGAN, arXiv 2306.06546, section 3.2 (for a share of the samples).
    """

    def __init__(
        self,
        books: Sequence[Codebook],
        num_codebooks: int,
        *,
        commitment: float,
        estimator: Estimator,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.books = nn.ModuleList(books)
        self.num_codebooks = num_codebooks
        self.commitment = commitment
        self.estimator: Estimator = estimator
        self.dropout = dropout
        self.input_channels = books[0].channels
        self.noise_channels = 1 if dropout > 0 else 0
        self.codes: Codes | None = Codes(books[0].size, num_codebooks)

    @property
    def levels(self) -> list[Codebook]:
        """The codebook of every level."""
        books: list[Codebook] = list(self.books)  # type: ignore[arg-type]  # nn.ModuleList's
        return books * self.num_codebooks if len(books) == 1 else books

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape.

        With ``dropout``, a training sample draws how many codes it is sent with from ``noise`` (B, 1, *S). The
        indices are always all of them.
        """
        with full_precision(h.device):
            rows = to_rows(h)  # (N, C)
            depths = self._depths(h, sample, noise)  # (N,)
            follows = self.books[0].follows(rows)  # type: ignore[operator]  # nn.Module's
            full, z = torch.zeros_like(rows), torch.zeros_like(rows)  # of all codes, and of those sent
            loss = rows.new_zeros(())
            rests: list[Tensor] = []
            found: list[Tensor] = []
            for level, book in enumerate(self.levels):
                rest = rows - full  # the codes before carry no gradient
                if follows:
                    book.prepare(rest)
                indices = book.search(rest)
                q, sent = book.lookup(indices), (depths > level).unsqueeze(1)
                loss = loss + self.commitment * torch.where(sent, rest - q.detach(), 0).square().mean()
                if book.update == "gradient":
                    loss = loss + torch.where(sent, q - rest.detach(), 0).square().mean()
                full = full + q.detach()
                z = z + torch.where(sent, q.detach(), 0)
                rests.append(rest.detach())
                found.append(indices)
            counted = [depths > level for level in range(self.num_codebooks)]
            stats = self._learn(rests, found, counted) if follows else self._usage(found)
            z = estimate(self.estimator, rows, z)
        return BottleneckOutput(
            z=to_grid(z, h.shape).to(h.dtype),
            loss=loss / self.num_codebooks,
            indices=to_grid(torch.stack(found, dim=1), h.shape).contiguous(),  # (B, Q, *S)
            stats=stats,
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, Q, *grid) -> z (B, C, *grid)."""
        z = self.levels[0].lookup(indices[:, 0].long())
        for level in range(1, self.num_codebooks):
            z = z + self.levels[level].lookup(indices[:, level].long())
        return z.to(self.levels[0].codebook.dtype).movedim(-1, 1)

    def _depths(self, h: Tensor, sample: bool, noise: Tensor | None) -> Tensor:
        """How many codes each position is sent with, (N,): one number a sample."""
        batch, positions = len(h), h[0, 0].numel()
        if not (self.training and sample and self.dropout > 0):
            return torch.full((batch * positions,), self.num_codebooks, device=h.device)
        normal = torch.randn(batch, device=h.device) if noise is None else noise.flatten(1)[:, 0].to(h.device)
        level = torch.special.ndtr(normal.float())  # uniform in [0, 1]
        cut = (level / self.dropout * self.num_codebooks).long() + 1
        depths = torch.where(level < self.dropout, cut, self.num_codebooks)
        return depths.clamp(max=self.num_codebooks).repeat_interleave(positions)

    def _learn(self, rests: list[Tensor], found: list[Tensor], counted: list[Tensor]) -> dict[str, Tensor]:
        """Every codebook learns from its levels; what to log."""
        if len(self.books) == 1:
            chosen = self.levels[0].learn(torch.cat(rests), torch.cat(found), torch.cat(counted))
            return usage_stats(chosen)
        return mean_stats(
            [
                usage_stats(book.learn(*level))
                for book, *level in zip(self.levels, rests, found, counted, strict=True)
            ]
        )

    def _usage(self, found: list[Tensor]) -> dict[str, Tensor]:
        size = self.levels[0].size
        if len(self.books) == 1:
            return usage_stats(count(torch.cat(found), size))
        return mean_stats([usage_stats(count(indices, size)) for indices in found])


def mean_stats(levels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each number's mean over the levels."""
    return {name: torch.stack([level[name] for level in levels]).mean() for name in levels[0]}


class ResidualVQConfig(CodebookConfig):
    """A sum of codes, each for what those before it left over (RQ-VAE, arXiv 2203.01941)."""

    kind: Literal["residual_vq"] = "residual_vq"
    num_codebooks: int = Field(default=4, ge=2, description="codes a position, coarse to fine")
    shared: bool = Field(default=True, description="one codebook for all of them")
    dropout: float = Field(default=0.0, ge=0, le=1, description="share of samples trained with fewer codes")

    def build(self, latent_channels: int) -> ResidualVQ:
        """The module.

        Raises:
            ValueError: if the distance is the cosine, which does not see how long a rest is.
        """
        if self.distance != "euclidean":
            raise ValueError(f"distance {self.distance!r}: codes of rests differ in length; choose euclidean")
        names = ["codebook"] if self.shared else [f"codebook{level}" for level in range(self.num_codebooks)]
        return ResidualVQ(
            [self.build_codebook(latent_channels, name) for name in names],
            self.num_codebooks,
            commitment=self.commitment,
            estimator=self.estimator,
            dropout=self.dropout,
        )
