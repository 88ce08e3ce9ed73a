"""Each position of the latent replaced by its nearest code (VQ-VAE).

Letters: B batch, C channels, S the latent's grid, K codes.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.layers.assignment import assignment_entropies
from tokenizer.layers.codebook import Codebook, CodebookConfig, quantize, to_grid, to_rows, usage_stats
from tokenizer.layers.estimators import Estimator
from tokenizer.layers.precision import full_precision


class VQ(nn.Module):
    """h -> its nearest codes; the loss pulls codes to features and, by ``commitment``, features to codes.

    Args:
        book: the codes.
        commitment: beta, weight of the features' way to their codes.
        estimator: gradient through the choice of a code.
        entropy: weight of E[H(p)] - H(E[p]) with p = softmax(-|h - c|^2 / entropy_temperature) over codes c: decided
            features, and even use of the codes. At 0 it is not computed.
        entropy_temperature: of p.

    Source: van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, section 3; entropy:
    Xiong et al. 2025, GigaTok, arXiv 2504.08736, section 3.4.
    """

    def __init__(
        self,
        book: Codebook,
        *,
        commitment: float,
        estimator: Estimator,
        entropy: float = 0.0,
        entropy_temperature: float = 0.01,
    ) -> None:
        super().__init__()
        self.entropy, self.entropy_temperature = entropy, entropy_temperature
        self.book = book
        self.commitment = commitment
        self.estimator: Estimator = estimator
        self.input_channels = book.channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(book.size)

    @property
    def codebook(self) -> Tensor:
        """The codes as they are sent, (K, C) float32, without gradient."""
        return self.book.codes

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn."""
        with full_precision(h.device):
            out = quantize(self.book, to_rows(h), commitment=self.commitment, estimator=self.estimator)
            loss, stats = out.loss, usage_stats(out.chosen)
            if self.entropy:
                codes = self.book.lookup(torch.arange(self.book.size, device=h.device))
                entropies = assignment_entropies(
                    2.0 * out.rows,
                    codes,
                    bias=-codes.square().sum(dim=1),
                    temperature=self.entropy_temperature,
                    over_processes=self.training,
                )
                loss = loss + self.entropy * (entropies.sample - entropies.batch)
                stats |= {
                    "sample_entropy": entropies.sample.detach(),
                    "batch_entropy": entropies.batch.detach(),
                }
        return BottleneckOutput(
            z=to_grid(out.z, h.shape).to(h.dtype),
            loss=loss,
            indices=out.indices.view(h.shape[0], *h.shape[2:]),
            stats=stats,
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, *grid) -> z (B, C, *grid)."""
        return self.book.lookup(indices.long()).to(self.book.codebook.dtype).movedim(-1, 1)


class VQConfig(CodebookConfig):
    """The nearest codes of a codebook (VQ-VAE, arXiv 1711.00937), unused ones revived (CVQ, arXiv 2307.15139)."""

    kind: Literal["vq"] = "vq"
    entropy: float = Field(default=0.0, ge=0, description="weight of decided features and even codebook use")
    entropy_temperature: float = Field(
        default=0.01, gt=0, description="of the distribution whose entropies are meant"
    )

    def build(self, latent_channels: int) -> VQ:
        """The module."""
        book = self.build_codebook(latent_channels)
        return VQ(
            book,
            commitment=self.commitment,
            estimator=self.estimator,
            entropy=self.entropy,
            entropy_temperature=self.entropy_temperature,
        )
