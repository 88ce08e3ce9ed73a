"""The autoencoder: encoder, bottleneck, decoder, and the contract every tokenizer answers to.

Inference keeps no state on the module: tile plans and caches are arguments, so two callers never see each
other's. Pixels x are (B, 3, *S) in [-1, 1]; latents leave normalised (see ``spec.py``).
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.base import Bottleneck, BottleneckOutput
from tokenizer.projection import Projection
from tokenizer.spec import Latent, LatentSpec, PartSpec, Size
from tokenizer.tiling import TilePlan, tiled_decode, tiled_encode


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one training forward pass made.

    Attributes:
        x_hat: (B, 3, *S) reconstruction, not clamped.
        z: (B, C, *S') the latent the decoder read, raw scale.
        bottleneck: the bottleneck's whole output.
        target: (B, 3, *S) what x_hat should equal, in [-1, 1]: the pixels, unless a regularizer changed them.
        keys: (B,) int64, what each sample's random draws come from; None outside training.
        penalties: losses of the regularizers, unweighted scalars by kind.
        extras: what a family adds, by name.
    """

    x_hat: Tensor
    z: Tensor
    bottleneck: BottleneckOutput
    target: Tensor
    keys: Tensor | None = None
    penalties: dict[str, Tensor] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Tokenizer(Protocol):
    """Pixels <-> latents, whoever made the network."""

    @property
    def spec(self) -> LatentSpec:
        """What its latents are."""
        ...

    @property
    def spec_id(self) -> str:
        """Identity of its latent space; empty if never saved."""
        ...

    def encode(
        self,
        x: Tensor,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: dict[str, Tensor] | None = None,
    ) -> Latent:
        """x (B, 3, *S) in [-1, 1], any size -> normalised Latent; ``sample=False`` takes the posterior's mode."""
        ...

    def decode(
        self,
        latent: Latent,
        *,
        generator: torch.Generator | None = None,
        num_steps: int | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Latent -> x_hat (B, 3, *latent.size), about [-1, 1], not clamped."""
        ...


class Autoencoder(nn.Module):
    """Encoder, bottleneck, decoder, taken as parts.

    Args:
        encoder: x (B, 3, *S) -> h (B, C_h, *S').
        bottleneck: h -> z (B, C, *S').
        decoder: z -> x_hat (B, 3, *S); of tokens (1d) it takes S too.
        spec: what the latents are.
        spec_id: identity of the saved weights and spec; empty until saved.
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        spec: LatentSpec,
        spec_id: str = "",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.bottleneck: Any = bottleneck  # a Bottleneck and an nn.Module, which no one type says
        self.decoder = decoder
        self.spec = spec
        self.spec_id = spec_id
        self.projection: Projection | None = None  # to colours, for previews; set when it was fitted

    def forward(self, x: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> StepOutput:
        """One pass through all three. x (B, 3, *S), S a multiple of the factors.

        ``noise`` (B, noise_channels, *S') drives the posterior's sample.
        """
        bottleneck = self.bottleneck(self.encoder(x), sample=sample, noise=noise)
        x_hat = self.to_pixels(bottleneck.z, tuple(x.shape[2:]))
        return StepOutput(x_hat=x_hat, z=bottleneck.z, bottleneck=bottleneck, target=x)

    def to_pixels(self, z: Tensor, size: Size) -> Tensor:
        """z (B, C, *S') in the tokenizer's own scale -> x_hat (B, 3, *size), ``size`` a multiple of the factors."""
        x_hat: Tensor = self.decoder(z, size) if self.spec.z.layout == "1d" else self.decoder(z)
        return x_hat

    def encode(
        self,
        x: Tensor,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: dict[str, Tensor] | None = None,
    ) -> Latent:
        """x (B, 3, *S) in [-1, 1], any size -> normalised Latent that remembers the size.

        ``num_tokens`` keeps the first tokens of a row of them. Such tokens tell of the whole picture, so that tiles
        are left aside.

        Raises:
            ValueError: if x has the wrong shape, or an option does not fit this family.
        """
        self._check_options(num_tokens, cache=cache)
        if x.ndim not in (4, 5) or x.shape[1] != 3:
            raise ValueError(f"x must be (B, 3, H, W) or (B, 3, T, H, W), got {tuple(x.shape)}")
        size = tuple(x.shape[2:])
        x = pad_to(x, self.spec.padded(size))
        if tiles is None or self.spec.z.layout == "1d":
            h = self.encoder(x)
        else:
            h = tiled_encode(self.encoder, x, tiles, factor=self.spec.z.spatial_factor)
        noise = None
        if sample and self.bottleneck.noise_channels:
            shape = (x.shape[0], self.bottleneck.noise_channels, *self.spec.z.shape(size)[1:])
            noise = torch.randn(
                shape, generator=generator, device=generator.device if generator else x.device
            )
        out = self.bottleneck(h, sample=sample, noise=noise)
        name = self.spec.z.name
        indices = {} if out.indices is None else {name: out.indices}
        latent = Latent({name: self.spec.normalize(out.z)}, size, self.spec_id, indices)
        return latent if num_tokens is None else first_tokens(latent, num_tokens)

    def decode(
        self,
        latent: Latent,
        *,
        generator: torch.Generator | None = None,
        num_steps: int | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Latent -> x_hat (B, 3, *latent.size), not clamped; a discrete latent may be its indices alone.

        Raises:
            ValueError: if the latent belongs to another tokenizer, its shape does not fit its size, or an
                option does not fit this family.
        """
        self._check_options(num_tokens, num_steps=num_steps, cache=cache)
        check_latent(latent, self.spec, self.spec_id)
        if num_tokens is not None:
            latent = first_tokens(latent, num_tokens)
        part = self.spec.z
        if part.name in latent.parts:
            z = self.spec.denormalize(latent.z)
        else:
            indices = latent.indices[part.name]
            grid = indices.shape[-1:] if part.layout == "1d" else part.shape(latent.size)[1:]
            z = self.bottleneck.decode_indices(indices, tuple(grid))
        if tiles is None or part.layout == "1d":
            x_hat = self.to_pixels(z, self.spec.padded(latent.size))
        else:
            x_hat = tiled_decode(self.decoder, z, tiles, factor=self.spec.z.spatial_factor)
        return crop_to(x_hat, latent.size)

    def _check_options(self, num_tokens: int | None, **options: object) -> None:
        if num_tokens is not None and self.spec.z.layout == "1d":
            self.spec.z.check_tokens(num_tokens)
        elif num_tokens is not None:
            options["num_tokens"] = num_tokens
        for name, value in options.items():
            if value is not None:
                raise ValueError(f"this tokenizer has no {name}: leave it out")


def first_tokens(latent: Latent, count: int) -> Latent:
    """The first ``count`` tokens of every part and of their indices.

    Raises:
        ValueError: if it has fewer.
    """
    have = next(iter({**latent.indices, **latent.parts}.values())).shape[-1]
    if have < count:
        raise ValueError(f"the latent has {have} tokens, {count} were asked for: encode the picture again")
    return replace(
        latent,
        parts={name: value[..., :count] for name, value in latent.parts.items()},
        indices={name: value[..., :count] for name, value in latent.indices.items()},
    )


def check_latent(latent: Latent, spec: LatentSpec, spec_id: str) -> None:
    """ValueError if ``latent`` was made by another tokenizer, or its parts or indices do not fit its size."""
    if latent.spec_id and spec_id and latent.spec_id != spec_id:
        raise ValueError(
            f"the latent belongs to spec {latent.spec_id}, this tokenizer is {spec_id}: "
            "decode it with the tokenizer that made it, or encode the picture again"
        )
    for name, shape in spec.shape(latent.size).items():
        if name in latent.indices and name not in latent.parts:
            check_indices(latent.indices[name], spec.part(name), latent.size)
            continue
        if name not in latent.parts:
            raise ValueError(f"the latent lacks part {name!r}; it has {', '.join(latent.parts) or 'none'}")
        got = tuple(latent.parts[name].shape[1:])
        if not spec.part(name).fits(got, shape):
            raise ValueError(
                f"part {name!r} is {got}, but pixels of {latent.size} need {shape} (without batch)"
            )


def check_indices(indices: Tensor, part: PartSpec, size: Size) -> None:
    """ValueError if codes (B, ...) are not those of a part for pixels of ``size``."""
    wanted, got = part.index_shape(size), tuple(indices.shape[1:])
    if not part.fits(got, wanted):
        raise ValueError(f"indices of {part.name!r} are {got}, but pixels of {size} need {wanted}")
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(f"indices must be integers, not {indices.dtype}")
    low, high = (int(value) for value in torch.aminmax(indices.long()))
    if low < 0 or high >= (part.codebook_size or 0):
        raise ValueError(
            f"indices must be 0 to {(part.codebook_size or 0) - 1}, these go from {low} to {high}"
        )


def pad_to(x: Tensor, size: Size) -> Tensor:
    """x (B, C, *S) -> (B, C, *size), the last rows, columns and frames repeated."""
    widths: list[int] = []
    for have, want in zip(reversed(x.shape[2:]), reversed(size), strict=True):
        widths += [0, want - have]
    if not any(widths):
        return x
    return F.pad(x, widths, mode="replicate")


def crop_to(x: Tensor, size: Size) -> Tensor:
    """x (B, C, *S) -> its first ``size`` frames, rows and columns."""
    for dim, side in enumerate(size, start=x.ndim - len(size)):
        x = x.narrow(dim, 0, side)
    return x
