"""Several codes a position: channels cut in chunks, all quantized with one codebook (MoVQ).

Letters: B batch, C channels, S the latent's grid, Q chunks, K codes of C/Q channels.
"""

from typing import Literal

from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.layers.codebook import Codebook, CodebookConfig, quantize, to_grid, to_rows, usage_stats
from tokenizer.layers.estimators import Estimator
from tokenizer.layers.precision import full_precision


class MultichannelVQ(nn.Module):
    """h -> the nearest codes of its Q chunks of channels, side by side.

    Args:
        book: codes of C/Q channels, one set for all chunks.
        num_codebooks: Q.
        commitment: weight of the features' way to their codes.
        estimator: gradient through the choice of a code.

    Source: Zheng et al. 2022, MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation,
    arXiv 2209.09002, section 3.2 (multichannel quantization).
    """

    def __init__(
        self, book: Codebook, num_codebooks: int, *, commitment: float, estimator: Estimator
    ) -> None:
        super().__init__()
        self.book = book
        self.commitment = commitment
        self.estimator: Estimator = estimator
        self.num_codebooks = num_codebooks
        self.input_channels = num_codebooks * book.channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(book.size, num_codebooks)

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> the same shape; nothing is drawn."""
        with full_precision(h.device):
            rows = rearrange(to_rows(h), "n (q c) -> (n q) c", q=self.num_codebooks)
            out = quantize(self.book, rows, commitment=self.commitment, estimator=self.estimator)
            z = rearrange(out.z, "(n q) c -> n (q c)", q=self.num_codebooks)
        indices = out.indices.view(h.shape[0], *h.shape[2:], self.num_codebooks)
        return BottleneckOutput(
            z=to_grid(z, h.shape).to(h.dtype),
            loss=out.loss,
            indices=indices.movedim(-1, 1).contiguous(),  # (B, Q, *S)
            stats=usage_stats(out.chosen),
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, Q, *grid) -> z (B, C, *grid)."""
        chunks = self.book.lookup(indices.long()).to(self.book.codebook.dtype)  # (B, Q, *grid, C/Q)
        return chunks.movedim(-1, 2).flatten(1, 2)


class MultichannelVQConfig(CodebookConfig):
    """Chunks of channels, each the nearest code of one codebook (MoVQ, arXiv 2209.09002)."""

    kind: Literal["multichannel_vq"] = "multichannel_vq"
    num_codebooks: int = Field(default=4, ge=2, description="chunks that the channels are cut in")

    def build(self, latent_channels: int) -> MultichannelVQ:
        """The module.

        Raises:
            ValueError: if the channels cannot be cut evenly.
        """
        if latent_channels % self.num_codebooks:
            raise ValueError(
                f"num_codebooks {self.num_codebooks} must divide the {latent_channels} latent channels"
            )
        book = self.build_codebook(latent_channels // self.num_codebooks)
        return MultichannelVQ(book, self.num_codebooks, commitment=self.commitment, estimator=self.estimator)
