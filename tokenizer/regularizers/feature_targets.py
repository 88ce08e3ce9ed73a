"""Auxiliary decoders: from the latent alone, shallow networks must tell targets of the patches that were hidden.

Letters: B batch, C latent channels, N latent tokens, L patches, T channels of a target, D width.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core.config import Config
from tokenizer.layers.frozen import FrozenConfig
from tokenizer.layers.hog import hog, hog_channels
from tokenizer.layers.precision import full_precision
from tokenizer.layers.rows import RowPositions
from tokenizer.layers.transformer import GELUFeedForward, Grid, SinCosPositions, Transformer, init_linear
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


class Target(Protocol):
    """What a patch is to be told by; ``channels`` is T."""

    channels: int

    def __call__(self, x: Tensor, grid: Grid) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> (B, L, T), patches of the grid, rows first; no gradient."""
        ...


class HOGTarget:
    """Histograms of oriented gradients of patches of P pixels; ``cell`` divides P."""

    def __init__(self, patch: int, cell: int) -> None:
        self.patch, self.cell = patch, cell
        self.channels = hog_channels(patch, cell=cell)

    @torch.no_grad()
    def __call__(self, x: Tensor, grid: Grid) -> Tensor:
        """See ``Target``; pictures are resized to P pixels for each patch."""
        sides = (grid[0] * self.patch, grid[1] * self.patch)
        if tuple(x.shape[2:]) != sides:
            x = F.interpolate(x.float(), size=sides, mode="bicubic", antialias=True)
        return hog(x, self.patch, cell=self.cell)


class FrozenTarget:
    """A frozen encoder's features, each brought to mean 0 and variance 1 over its channels."""

    def __init__(self, config: FrozenConfig) -> None:
        self.frozen = config.open()
        self.channels = self.frozen.channels

    def __call__(self, x: Tensor, grid: Grid) -> Tensor:
        """See ``Target``."""
        features = self.frozen(x, grid).flatten(2).transpose(1, 2)
        return F.layer_norm(features, (self.channels,))


class AuxiliaryDecoder(nn.Module):
    """A mask token for every patch and the latent's tokens through a shallow transformer; patches become targets."""

    def __init__(
        self, latent_channels: int, num_tokens: int, width: int, depth: int, heads: int, out: int
    ) -> None:
        super().__init__()
        self.project_in = nn.Linear(latent_channels, width)
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.body = Transformer(
            width=width,
            depth=depth,
            heads=heads,
            feed_forward=GELUFeedForward,
            positions=RowPositions(SinCosPositions(width), num_tokens, width),
            bias=True,
            pre_norm=True,
        )
        self.head = nn.Linear(width, out)
        for layer in (self.project_in, self.head):
            init_linear(layer)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """tokens (B, N, C) -> (B, L, T)."""
        masks = self.mask.expand(len(tokens), grid[0] * grid[1], -1)
        told = self.body(torch.cat([masks, self.project_in(tokens)], dim=1), grid)
        out: Tensor = self.head(told[:, : masks.shape[1]])
        return out


class FeatureTargets(Regularizer):
    """Mean squared error of the targets of hidden patches; of all patches where none are hidden; summed over targets.

    Args:
        targets: what is told, by name.
        decoders: one for each of them.
        patch: pixels a side of the encoder's patches.

    Source: Chen et al. 2025, Masked Autoencoders Are Effective Tokenizers for Diffusion Models (MAETok), arXiv
    2502.03444, section 3.2 (auxiliary shallow decoders; HOG, DINOv2 and CLIP as targets).
    """

    def __init__(self, targets: dict[str, Target], decoders: Sequence[AuxiliaryDecoder], patch: int) -> None:
        super().__init__()
        self.targets = targets
        self.decoders = nn.ModuleDict(dict(zip(targets, decoders, strict=True)))
        self.patch = patch

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar >= 0."""
        x = step.target
        grid = (x.shape[2] // self.patch, x.shape[3] // self.patch)
        hidden = step.extras.get("hidden")
        with full_precision(x.device):
            tokens = step.bottleneck.z.float().transpose(1, 2)  # (B, N, C)
            losses = []
            for name, target in self.targets.items():
                errors = (self.decoders[name](tokens, grid) - target(x, grid)).square().mean(dim=2)  # (B, L)
                counted = torch.ones_like(errors) if hidden is None else hidden.to(errors)
                losses.append((errors * counted).sum() / counted.sum().clamp_min(1.0))
        return torch.stack(losses).sum()


class HOGTargetConfig(Config):
    """Histograms of oriented gradients (MaskFeat, arXiv 2112.09133): no network, no file."""

    kind: Literal["hog"] = "hog"
    cell: int = Field(default=8, ge=2, description="pixels a side of a histogram; divides the patch")

    def build(self, patch: int) -> Target:
        """For patches of so many pixels."""
        return HOGTarget(patch, self.cell)


class FrozenTargetConfig(Config):
    """Features of a frozen encoder (DINOv2, arXiv 2304.07193; CLIP, arXiv 2103.00020)."""

    kind: Literal["frozen"] = "frozen"
    frozen: FrozenConfig

    def build(self, patch: int) -> Target:
        """The target; it has patches of its own."""
        return FrozenTarget(self.frozen)


TargetConfig = Annotated[HOGTargetConfig | FrozenTargetConfig, Field(discriminator="kind")]


class FeatureTargetsConfig(RegularizerSettings):
    """Shallow decoders tell features of hidden patches from the latent (MAETok, arXiv 2502.03444)."""

    kind: Literal["feature_targets"] = "feature_targets"
    targets: tuple[TargetConfig, ...] = Field(default=(HOGTargetConfig(),), min_length=1)
    patch: int = Field(default=16, ge=1, description="pixels a side of the encoder's patches")
    width: int = Field(default=512, ge=8, description="of an auxiliary decoder")
    depth: int = Field(default=3, ge=1, description="blocks of an auxiliary decoder")
    heads: int = Field(default=8, ge=1)

    def check(self, part: PartSpec) -> None:
        """ValueError where the latent is no row of tokens, or cells do not fill a patch."""
        if part.layout != "1d":
            raise ValueError("feature_targets reads a row of tokens: take alignment for a grid")
        for target in self.targets:
            if isinstance(target, HOGTargetConfig) and self.patch % target.cell:
                raise ValueError(
                    f"feature_targets: patch {self.patch} must be a multiple of cell, {target.cell}"
                )

    def build(self, part: PartSpec) -> FeatureTargets:
        """The regularizer.

        Raises:
            ValueError: if a frozen encoder's files are missing.
        """
        built = {
            f"{index}_{target.kind}": target.build(self.patch) for index, target in enumerate(self.targets)
        }
        decoders = [
            AuxiliaryDecoder(
                part.channels, part.token_range[1], self.width, self.depth, self.heads, target.channels
            )
            for target in built.values()
        ]
        return FeatureTargets(built, decoders, self.patch)
