"""Binary spherical quantization: features on the unit sphere, each channel's sign a bit.

Letters: B batch, C latent channels = bits at a position, S the latent's grid, Q codebooks.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.core.config import Config
from tokenizer.layers.bits import bits_per_index, pack_bits, signs, unpack_bits
from tokenizer.layers.entropy import bit_balance, check_group, code_entropies
from tokenizer.layers.estimators import straight_through
from tokenizer.layers.precision import full_precision


class BSQ(nn.Module):
    """u = h / |h|, z = sign(u) / sqrt(C), so that both lie on the unit sphere and their distance is bounded.

    The loss is ``entropy_weight * temperature * (E[H(p)] - diversity * H(E[p])) + commitment_weight * |u - z|^2``
    with p(c) proportional to exp(2 u.c / temperature), entropies in nats a position. E[H(p)] is exact; H(E[p]) is
    the sum over groups of bits.

    Args:
        num_bits: C, the latent's channels, all on one sphere.
        num_codebooks: Q, indices that the bits are written in; it changes nothing else.
        entropy_weight: of the whole entropy term.
        diversity: of its second part.
        commitment_weight: of the squared distance on the sphere.
        temperature: of the soft assignment in the entropies.
        group_bits: bits over which the entropy of the mean distribution is exact; divides C.

    Source: Zhao et al. 2024, Image and Video Tokenization with Binary Spherical Quantization, arXiv 2406.07548,
    section 4; the temperature as the authors' public code counts it.
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
        self.scale = num_bits**-0.5
        self.register_buffer("unit", torch.ones(()), persistent=False)  # knows the dtype that z has

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> z of the same shape on the unit sphere; nothing is drawn."""
        with full_precision(h.device):
            u = F.normalize(h.float(), dim=1)
            bits = u > 0
            q = signs(bits, self.scale)
            logits = 4.0 * self.scale * u / self.temperature
            entropies = code_entropies(logits, self.group_bits, over_processes=self.training)
            commitment = (u - q).square().sum(dim=1).mean()
            loss = (
                self.entropy_weight * self.temperature * (entropies.sample - self.diversity * entropies.batch)
            )
            loss = loss + self.commitment_weight * commitment
            stats = {
                "sample_entropy": entropies.sample.detach(),
                "batch_entropy": entropies.batch.detach(),
                "commitment": commitment.detach(),
                "bit_balance": bit_balance(bits),
            }
            z = straight_through(u, q).to(h.dtype)
        return BottleneckOutput(z, loss, pack_bits(bits, self.num_codebooks), stats)

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """int64 (B, *S) or (B, Q, *S) -> z (B, C, *S)."""
        bits = unpack_bits(indices, self.input_channels, self.num_codebooks)
        return signs(bits, self.scale).to(self.unit.dtype)

    def encode_indices(self, z: Tensor) -> Tensor:
        """z (B, C, *S) in any precision -> indices."""
        return pack_bits(z > 0, self.num_codebooks)


class BSQConfig(Config):
    """Binary spherical quantization, signs on the unit sphere with an entropy loss (BSQ, arXiv 2406.07548)."""

    kind: Literal["bsq"] = "bsq"
    num_codebooks: int = Field(1, ge=1, description="indices at a position, that the bits are written in")
    entropy_weight: float = Field(0.1, ge=0)
    diversity: float = Field(
        1.0, ge=0, description="weight of the entropy of the mean distribution, within it"
    )
    commitment_weight: float = Field(0.0, ge=0)
    temperature: float = Field(1.0, gt=0, description="of the soft assignment in the entropies")
    group_bits: int = Field(1, ge=1, description="bits of a group with an exact mean distribution")

    def build(self, latent_channels: int) -> BSQ:
        """The module, a bit a channel.

        Raises:
            ValueError: if an index does not fit 32 bits, or ``group_bits`` does not divide the channels.
        """
        return BSQ(
            num_bits=latent_channels,
            num_codebooks=self.num_codebooks,
            entropy_weight=self.entropy_weight,
            diversity=self.diversity,
            commitment_weight=self.commitment_weight,
            temperature=self.temperature,
            group_bits=check_group(self.group_bits, latent_channels),
        )
