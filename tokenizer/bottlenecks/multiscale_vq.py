"""Token maps from coarse to fine, each for what the maps before it left over (next-scale models).

Letters: B batch, C channels, H W the latent's grid, L tokens of all scales, K codes.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.base import BottleneckOutput, Codes
from tokenizer.layers.codebook import Codebook, CodebookConfig, count, to_rows, usage_stats
from tokenizer.layers.estimators import Estimator, estimate
from tokenizer.layers.precision import full_precision
from tokenizer.spec import scale_grids

VAR_SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
PHI_RATIO = 0.5


class Phi(nn.Module):
    """What an enlarged token map goes through: half of it as it is, half through a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) float32, whatever precision the weights are kept in."""
        bias = None if self.conv.bias is None else self.conv.bias.float()
        return torch.lerp(x, F.conv2d(x, self.conv.weight.float(), bias, padding=1), PHI_RATIO)


class MultiscaleVQ(nn.Module):
    """h -> a sum of token maps of growing size, each enlarged and passed through a convolution phi.

    At each scale what is left of h is averaged down to the map's size, replaced by its nearest codes, enlarged
    (bicubic), passed through phi and taken off. The loss is the mean over scales of |z_s - sg(h)|^2 +
    commitment |sg(z_s) - h|^2, z_s the sum up to scale s.

    Args:
        book: the codes, one set for all scales.
        scales: sides of the maps for a latent of side ``scales[-1]``; other grids take the same proportions.
        num_phi: convolutions, shared by neighbouring scales; 0: none at all.
        commitment: weight of the features' way to their codes.
        estimator: gradient through the choice of codes, applied once to their sum.

    Source: Tian et al. 2024, Visual Autoregressive Modeling, arXiv 2404.02905, section 3.2 and algorithms 1 and 2.
    """

    def __init__(
        self,
        book: Codebook,
        scales: tuple[int, ...],
        *,
        num_phi: int = 4,
        commitment: float,
        estimator: Estimator,
    ) -> None:
        super().__init__()
        self.book = book
        self.scales = scales
        self.phis = nn.ModuleList(Phi(book.channels) for _ in range(num_phi))
        self.commitment = commitment
        self.estimator: Estimator = estimator
        self.input_channels = book.channels
        self.noise_channels = 0
        self.codes: Codes | None = Codes(book.size, scales=scales)

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, H, W) -> the same shape; indices (B, L), the coarsest map first. Nothing is drawn."""
        with full_precision(h.device):
            x = h.float()
            follows = self.book.follows(x)
            z, loss = torch.zeros_like(x), x.new_zeros(())
            rests: list[Tensor] = []
            found: list[Tensor] = []
            for turn, grid in enumerate(scale_grids(self.scales, tuple(x.shape[2:]))):
                rest = to_rows(F.interpolate(x.detach() - z.detach(), size=grid, mode="area"))
                if follows:
                    self.book.prepare(rest)
                indices = self.book.search(rest).view(len(x), *grid)
                z = z + self.enlarge(indices, turn, tuple(x.shape[2:]))
                loss = loss + F.mse_loss(z, x.detach()) + self.commitment * F.mse_loss(x, z.detach())
                rests.append(rest)
                found.append(indices.flatten(1))
            tokens = torch.cat(found, dim=1)  # (B, L)
            if follows:
                chosen = self.book.learn(torch.cat(rests), torch.cat([each.flatten() for each in found]))
            else:
                chosen = count(tokens, self.book.size)
            z = estimate(self.estimator, x, z, dim=1)
        return BottleneckOutput(
            z=z.to(h.dtype), loss=loss / len(self.scales), indices=tokens, stats=usage_stats(chosen)
        )

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """indices (B, L), the coarsest map first -> z (B, C, *grid)."""
        cells = scale_grids(self.scales, grid)
        maps = torch.split(indices.long(), [height * width for height, width in cells], dim=1)
        with full_precision(indices.device):
            z: Tensor | None = None
            for turn, (tokens, shape) in enumerate(zip(maps, cells, strict=True)):
                part = self.enlarge(tokens.view(len(indices), *shape), turn, grid)
                z = part if z is None else z + part
        assert z is not None  # there is at least one scale
        return z.to(self.book.codebook.dtype)

    def enlarge(self, indices: Tensor, turn: int, grid: tuple[int, ...]) -> Tensor:
        """One token map (B, h, w), the ``turn``-th, as its part of z (B, C, *grid) float32."""
        q = self.book.lookup(indices).movedim(-1, 1)
        if q.shape[2:] != grid:
            q = F.interpolate(q, size=grid, mode="bicubic")
        if not len(self.phis):
            return q
        part: Tensor = self.phis[shared_phi(turn, len(self.scales), len(self.phis))](q)
        return part


def shared_phi(turn: int, num_scales: int, num_phi: int) -> int:
    """Which of ``num_phi`` convolutions serves the ``turn``-th of ``num_scales`` scales.

    Scale and convolution are placed on [0, 1], scales from end to end, convolutions evenly inside (four of them a
    twelfth from the ends), and the nearest serves. Where two are equally near rounding decides, so the sums are
    in the order of the released VAR models.
    """
    margin = 1.0 / 3.0 / num_phi if num_phi == 4 else 1.0 / 2.0 / num_phi
    places = np.linspace(margin, 1.0 - margin, num_phi)
    return int(np.argmin(np.abs(places - turn / max(1, num_scales - 1))))


class MultiscaleVQConfig(CodebookConfig):
    """Token maps from coarse to fine, each for what the maps before it left over (VAR, arXiv 2404.02905)."""

    kind: Literal["multiscale_vq"] = "multiscale_vq"
    scales: tuple[int, ...] = Field(
        default=VAR_SCALES, description="sides of the token maps, the last is z's own"
    )
    num_phi: int = Field(default=4, ge=0, description="convolutions that neighbouring scales share; 0: none")

    def build(self, latent_channels: int) -> MultiscaleVQ:
        """The module.

        Raises:
            ValueError: if the scales do not grow, or codes are to be learned in a way that residuals forbid.
        """
        if not self.scales or self.scales[0] < 1 or list(self.scales) != sorted(set(self.scales)):
            raise ValueError(f"scales {list(self.scales)} must be sides of at least 1 that grow")
        if self.distance != "euclidean":
            raise ValueError(f"distance {self.distance!r}: codes of rests differ in length; choose euclidean")
        if self.update != "gradient":
            raise ValueError(f"update {self.update!r}: codes act through convolutions; choose gradient")
        served = {
            shared_phi(turn, len(self.scales), self.num_phi)
            for turn in range(len(self.scales))
            if self.num_phi
        }
        if len(served) != self.num_phi:
            raise ValueError(
                f"num_phi {self.num_phi} is too many for {len(self.scales)} scales: only {len(served)} would be used"
            )
        return MultiscaleVQ(
            self.build_codebook(latent_channels),
            self.scales,
            num_phi=self.num_phi,
            commitment=self.commitment,
            estimator=self.estimator,
        )
