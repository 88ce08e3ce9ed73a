"""Each token a soft mixture of the codes of a codebook: continuous, differentiable, and within the codes' hull.

Letters: B batch, C channels, S the latent's grid, N = |S| tokens, Q codebooks, K codes of each.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.base import BottleneckOutput, Codes, refuse_indices
from tokenizer.core.config import Config
from tokenizer.layers.assignment import assignment_entropies
from tokenizer.layers.precision import full_precision

Groups = Literal["tokens", "channels"]


class SoftVQ(nn.Module):
    """h -> softmax(h C^T / temperature) C, h and the codes C at unit length.

    With Q codebooks each serves its own share: of the row of ``tokens`` (the first N/Q the first codebook, ...), or of
    every token's ``channels``, so that a token is a product of several mixtures. The scores see the codes without
    gradient; codes learn as what is mixed. The loss is entropy * (E[H(p)] - H(E[p])) with p at ``entropy_temperature``.

    Args:
        codebook_size: K.
        channels: C.
        num_codebooks: Q.
        groups: what a codebook serves.
        temperature: of the mixture.
        entropy: weight of decided tokens and even use of the codes.
        entropy_temperature: of the distribution whose entropies are meant.

    Source: Chen et al. 2024, SoftVQ-VAE: Efficient 1-Dimensional Continuous Tokenizer, arXiv 2412.10958, section 3.2
    (the soft categorical posterior), and its released quantizer (unit length, a codebook for each stretch of tokens).
    """

    def __init__(
        self,
        codebook_size: int,
        channels: int,
        *,
        num_codebooks: int = 4,
        groups: Groups = "tokens",
        temperature: float = 0.07,
        entropy: float = 0.01,
        entropy_temperature: float = 0.01,
    ) -> None:
        super().__init__()
        self.groups: Groups = groups
        self.temperature, self.entropy, self.entropy_temperature = temperature, entropy, entropy_temperature
        self.input_channels = channels
        self.noise_channels = 0
        self.codes: Codes | None = None
        width = channels if groups == "tokens" else channels // num_codebooks
        self.codebooks = nn.Parameter(F.normalize(torch.randn(num_codebooks, codebook_size, width), dim=-1))

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn."""
        with full_precision(h.device):
            rows = h.flatten(2).transpose(1, 2).float()  # (B, N, C)
            books = F.normalize(self.codebooks.float(), dim=-1)
            axis = 1 if self.groups == "tokens" else 2
            shares = torch.tensor_split(rows, len(books), dim=axis)
            mixed, undecided, spread, peak = [], [], [], []
            for share, codes in zip(shares, books, strict=True):
                if share.shape[1] == 0:  # fewer tokens than codebooks
                    mixed.append(share)
                    continue
                unit = F.normalize(share, dim=-1)
                p = (unit @ codes.detach().T / self.temperature).softmax(dim=-1)  # (B, N', K)
                mixed.append(p @ codes)
                entropies = assignment_entropies(
                    unit.flatten(0, 1),
                    codes.detach(),
                    temperature=self.entropy_temperature,
                    over_processes=self.training,
                )
                undecided.append(entropies.sample)
                spread.append(entropies.batch)
                peak.append(p.amax(dim=-1).mean())
            z = torch.cat(mixed, dim=axis)
            sample_entropy, batch_entropy = torch.stack(undecided).mean(), torch.stack(spread).mean()
            stats = {
                "sample_entropy": sample_entropy.detach(),
                "batch_entropy": batch_entropy.detach(),
                "peak": torch.stack(peak).mean().detach(),
            }
        return BottleneckOutput(
            z=z.transpose(1, 2).reshape(h.shape).to(h.dtype),
            loss=self.entropy * (sample_entropy - batch_entropy),
            stats=stats,
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Always an error: this latent is continuous."""
        refuse_indices()


class SoftVQConfig(Config):
    """Soft mixtures of codes (SoftVQ-VAE, arXiv 2412.10958); the defaults are as released."""

    kind: Literal["softvq"] = "softvq"
    codebook_size: int = Field(default=8192, ge=2, description="codes of each codebook")
    num_codebooks: int = Field(default=4, ge=1)
    groups: Groups = Field(
        default="tokens",
        description="a codebook serves a stretch of the row of tokens, or a share of the channels",
    )
    temperature: float = Field(default=0.07, gt=0, description="of the mixture")
    entropy: float = Field(default=0.01, ge=0, description="weight of decided tokens and even codebook use")
    entropy_temperature: float = Field(
        default=0.01, gt=0, description="of the distribution whose entropies are meant"
    )

    def build(self, latent_channels: int) -> SoftVQ:
        """The module.

        Raises:
            ValueError: if channels cannot be shared out among the codebooks.
        """
        if self.groups == "channels" and latent_channels % self.num_codebooks:
            raise ValueError(
                f"latent_channels {latent_channels} must be a multiple of num_codebooks, {self.num_codebooks}"
            )
        return SoftVQ(
            self.codebook_size,
            latent_channels,
            num_codebooks=self.num_codebooks,
            groups=self.groups,
            temperature=self.temperature,
            entropy=self.entropy,
            entropy_temperature=self.entropy_temperature,
        )
