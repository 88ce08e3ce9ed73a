"""Lookup-free quantization: the sign of each channel is a bit, and an entropy loss keeps all codes in use.

Letters: B batch, C latent channels = bits at a position, S the latent's grid, Q codebooks, D = C / Q bits of an index.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core.config import Config
from tokenizer.layers.bits import bits_per_index, pack_bits, signs, unpack_bits
from tokenizer.layers.entropy import bit_balance, check_group, code_entropies
from tokenizer.layers.estimators import straight_through
from tokenizer.layers.precision import full_precision


class LFQ(nn.Module):
    """z is -1 or 1 a channel; 2^D codes an index, none of them stored.

    The loss is ``entropy_weight * (E[H(p)] - diversity * H(E[p])) + commitment_weight * mean((h - z)^2)`` with
    p(c) proportional to exp(2 h.c / temperature), entropies in nats an index.

    Args:
        num_bits: C, the latent's channels.
        num_codebooks: Q, indices at a position.
        entropy_weight: of the whole entropy term.
        diversity: of its second part.
        commitment_weight: of the squared distance of h to its code.
        temperature: of the soft assignment in the entropies.
        group_bits: bits over which the entropy of the mean distribution is exact; divides D.

    Source: Yu et al. 2023, Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (MAGVIT-v2),
    arXiv 2310.05737, section 3.1; bit tokens: Weber et al. 2024, MaskBit, arXiv 2409.16211.
    """

    unit: Tensor

    def __init__(
        self,
        num_bits: int,
        num_codebooks: int,
        entropy_weight: float,
        diversity: float,
        commitment_weight: float,
        temperature: float,
        group_bits: int,
    ) -> None:
        super().__init__()
        self.input_channels = num_bits
        self.noise_channels = 0
        self.num_codebooks = num_codebooks
        self.codes: Codes | None = Codes(2 ** bits_per_index(num_bits, num_codebooks), num_codebooks)
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.commitment_weight = commitment_weight
        self.temperature = temperature
        self.group_bits = group_bits
        self.register_buffer("unit", torch.ones(()), persistent=False)  # knows the dtype that z has

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> z of the same shape, -1 or 1; nothing is drawn."""
        with full_precision(h.device):
            value = h.float()
            bits = value > 0
            q = signs(bits)
            entropies = code_entropies(
                4.0 * value / self.temperature, self.group_bits, over_processes=self.training
            )
            sample_entropy = entropies.sample / self.num_codebooks
            batch_entropy = entropies.batch / self.num_codebooks
            commitment = (value - q).square().mean()
            loss = self.entropy_weight * (sample_entropy - self.diversity * batch_entropy)
            loss = loss + self.commitment_weight * commitment
            stats = {
                "sample_entropy": sample_entropy.detach(),
                "batch_entropy": batch_entropy.detach(),
                "commitment": commitment.detach(),
                "bit_balance": bit_balance(bits),
            }
            z = straight_through(value, q).to(h.dtype)
        return BottleneckOutput(z, loss, pack_bits(bits, self.num_codebooks), stats)

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """int64 (B, *S) or (B, Q, *S) -> z (B, C, *S)."""
        return signs(unpack_bits(indices, self.input_channels, self.num_codebooks)).to(self.unit.dtype)

    def encode_indices(self, z: Tensor) -> Tensor:
        """z (B, C, *S) in any precision -> indices."""
        return pack_bits(z > 0, self.num_codebooks)


class LFQConfig(Config):
    """Lookup-free quantization, a sign a channel with an entropy loss (MAGVIT-v2, arXiv 2310.05737)."""

    kind: Literal["lfq"] = "lfq"
    num_codebooks: int = Field(1, ge=1, description="indices at a position, that the channels are split over")
    entropy_weight: float = Field(0.1, ge=0)
    diversity: float = Field(
        1.0, ge=0, description="weight of the entropy of the mean distribution, within it"
    )
    commitment_weight: float = Field(0.25, ge=0)
    temperature: float = Field(0.01, gt=0, description="of the soft assignment in the entropies")
    group_bits: int | None = Field(
        None, ge=1, description="bits of a group with an exact mean distribution; left out: a whole index"
    )

    def build(self, latent_channels: int) -> LFQ:
        """The module, a bit a channel.

        Raises:
            ValueError: if an index does not fit 32 bits, or ``group_bits`` does not fit an index.
        """
        size = bits_per_index(latent_channels, self.num_codebooks)
        return LFQ(
            num_bits=latent_channels,
            num_codebooks=self.num_codebooks,
            entropy_weight=self.entropy_weight,
            diversity=self.diversity,
            commitment_weight=self.commitment_weight,
            temperature=self.temperature,
            group_bits=check_group(size if self.group_bits is None else self.group_bits, size),
        )
