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
from tokenizer.clips import Network, begun, decode_clip, encode_clip
from tokenizer.layers.causal import Cache, name_caches
from tokenizer.layers.sampling import Drawn, SamplingDecoder, noise_field
from tokenizer.projection import Projection
from tokenizer.spec import Latent, LatentSpec, PartSpec, Size
from tokenizer.tiling import TilePlan, remembering_tiles, tiled_decode, tiled_encode


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
        cache: Cache | None = None,
    ) -> Latent:
        """x (B, 3, *S) in [-1, 1], any size -> normalised Latent; ``sample=False`` takes the posterior's mode.

        With a ``cache``, which belongs to the caller, x is what follows of a clip (``tokenizer/streaming.py``).
        """
        ...

    def decode(
        self,
        latent: Latent,
        *,
        generator: torch.Generator | None = None,
        num_steps: int | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Latent -> x_hat (B, 3, *latent.size), about [-1, 1], not clamped."""
        ...


class Autoencoder(nn.Module):
    """Encoder, bottleneck, decoder, taken as parts.

    Args:
        encoder: x (B, 3, *S) -> h (B, C_h, *S'); of clips it takes a cache too, or None, as does the decoder; where the
            spec has an ``allocation``, the number of tokens.
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
        name_caches(encoder)
        name_caches(decoder)

    def forward(self, x: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> StepOutput:
        """One pass through all three. x (B, 3, *S), S a multiple of the factors.

        ``noise`` (B, noise_channels, *S') drives the posterior's sample.
        """
        bottleneck = self.bottleneck(self.to_features(x), sample=sample, noise=noise)
        x_hat = self.to_pixels(bottleneck.z, tuple(x.shape[2:]))
        return StepOutput(x_hat=x_hat, z=bottleneck.z, bottleneck=bottleneck, target=x)

    def to_features(self, x: Tensor, num_tokens: int | None = None) -> Tensor:
        """x (B, 3, *S), S a multiple of the factors -> h (B, C_h, *S').

        ``num_tokens`` (none: the most) says how many tokens an encoder that allocates them makes; others ignore it.
        """
        if self.spec.time != "none":
            return encode_clip(self.encoder, x, self.spec)[0]
        part = self.spec.z
        asked = () if part.allocation is None else (num_tokens or part.token_range[1],)
        h: Tensor = self.encoder(x, *asked)
        return h

    def to_pixels(
        self,
        z: Tensor,
        size: Size,
        generator: torch.Generator | None = None,
        num_steps: int | None = None,
    ) -> Tensor:
        """z (B, C, *S') in the tokenizer's own scale -> x_hat (B, 3, *size), ``size`` a multiple of the factors.

        ``generator`` and ``num_steps`` are for decoders that draw; without a generator their noise is always the same.
        """
        if isinstance(self.decoder, SamplingDecoder):
            return self.decoder.sample(z, noise_field(size, generator).to(z.device), num_steps)
        if self.spec.time != "none":
            return decode_clip(self.decoder, z, self.spec, size[0])[:, :, : size[0]]
        x_hat: Tensor = self.decoder(z, size) if self.spec.z.layout == "1d" else self.decoder(z)
        return x_hat

    def learn_pixels(self, z: Tensor, x: Tensor, keys: Tensor) -> Drawn:
        """What training makes of z (B, C, *S') for the pixels x (B, 3, *S); a drawing decoder draws from keys (B,)."""
        if isinstance(self.decoder, SamplingDecoder):
            return self.decoder.learn(z, x, keys)
        return Drawn(self.to_pixels(z, tuple(x.shape[2:])))

    def encode(
        self,
        x: Tensor,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
        num_tokens: int | None = None,
        tiles: TilePlan | None = None,
        cache: Cache | None = None,
    ) -> Latent:
        """x (B, 3, *S) in [-1, 1], any size -> normalised Latent that remembers the size.

        ``num_tokens`` keeps the first tokens of a row of them, or encodes for that many. Such tokens tell of the whole
        picture, so that tiles are left aside. A picture is a clip of one frame where the family is one of clips.

        With a ``cache`` x is the next frames of a clip, as many as there are. The latent's size tells the frames that
        it covers: those that do not fill a latent frame wait in the cache, and there may be none yet.

        Raises:
            ValueError: if x has the wrong shape, or an option does not fit this family.
        """
        self._check_options(num_tokens, cache=cache)
        check_pixels(x, self.spec, streaming=cache is not None)
        size = tuple(x.shape[2:])
        if self.spec.time == "none":
            h = self._encode_picture(x, tiles, num_tokens)
        else:
            h, frames = self._encode_clip(x, tiles, cache)
            size = size if x.ndim == 4 else (frames, *size[1:])
        name = self.spec.z.name
        if 0 in size:  # no group of frames is full yet
            shape = self.spec.shape(size)[name]
            return Latent({name: h.new_zeros(x.shape[0], *shape)}, size, self.spec_id)
        noise = None
        if sample and self.bottleneck.noise_channels:
            shape = (x.shape[0], self.bottleneck.noise_channels, *h.shape[2:])
            noise = torch.randn(
                shape, generator=generator, device=generator.device if generator else x.device
            )
        out = self.bottleneck(h, sample=sample, noise=noise)
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
        cache: Cache | None = None,
    ) -> Tensor:
        """Latent -> x_hat (B, 3, *latent.size), not clamped; a discrete latent may be its indices alone.

        A decoder that draws takes its noise from the ``generator``, one field for all rows and tiles (always the same
        without one), and ``num_steps`` (its spec's without). With a ``cache`` the latent is what follows of a clip, and
        x_hat the frames that are ready.

        Raises:
            ValueError: if the latent belongs to another tokenizer, its shape does not fit its size, or an
                option does not fit this family.
        """
        self._check_options(num_tokens, num_steps=num_steps, cache=cache)
        check_latent(latent, self.spec, self.spec_id, continued=begun(cache, "decoder"))
        part = self.spec.z
        if num_tokens is not None:
            whole, latent = latent, first_tokens(latent, num_tokens)
            if part.allocation is not None and count_tokens(whole) != num_tokens:
                raise ValueError(
                    f"the first {num_tokens} of {count_tokens(whole)} tokens are no code of their own here: "
                    f"encode the picture again with num_tokens={num_tokens}"
                )
        if part.name in latent.parts:
            z = self.spec.denormalize(latent.z)
        else:
            indices = latent.indices[part.name]
            shape = self.spec.shape(latent.size, continued=begun(cache, "decoder"))[part.name]
            grid = indices.shape[-1:] if part.layout == "1d" else shape[1:]
            z = self.bottleneck.decode_indices(indices, tuple(grid))
        if self.spec.time != "none":
            return self._decode_clip(z, latent.size, tiles, cache)
        padded = self.spec.padded(latent.size)
        if tiles is None or part.layout == "1d":
            x_hat = self.to_pixels(z, padded, generator, num_steps)
        elif isinstance(self.decoder, SamplingDecoder):
            both, draw = self.decoder.beside(
                z, noise_field(padded, generator), part.spatial_factor, num_steps
            )
            x_hat = tiled_decode(draw, both, tiles, factor=part.spatial_factor).to(z.dtype)
        else:
            x_hat = tiled_decode(self.decoder, z, tiles, factor=part.spatial_factor)
        return crop_to(x_hat, latent.size)

    def _encode_picture(self, x: Tensor, tiles: TilePlan | None, num_tokens: int | None) -> Tensor:
        x = pad_to(x, self.spec.padded(tuple(x.shape[2:])))
        if tiles is None or self.spec.z.layout == "1d":
            return self.to_features(x, num_tokens)
        return tiled_encode(self.encoder, x, tiles, factor=self.spec.z.spatial_factor)

    def _encode_clip(self, x: Tensor, tiles: TilePlan | None, cache: Cache | None) -> tuple[Tensor, int]:
        if x.ndim == 4:
            x = x.unsqueeze(2)
        x = pad_to(x, (x.shape[2], *self.spec.padded(tuple(x.shape[3:]))))
        network: Network = self.encoder
        if tiles is not None:
            network = remembering_tiles(network, tiles, factor=self.spec.z.spatial_factor, encodes=True)
        return encode_clip(network, x, self.spec, cache)

    def _decode_clip(self, z: Tensor, size: Size, tiles: TilePlan | None, cache: Cache | None) -> Tensor:
        network: Network = self.decoder
        if tiles is not None:
            network = remembering_tiles(network, tiles, factor=self.spec.z.spatial_factor, encodes=False)
        x_hat = decode_clip(network, z, self.spec, size[0] if len(size) == 3 else 1, cache)
        if len(size) == 2:
            return crop_to(x_hat[:, :, 0], size)
        return crop_to(x_hat, size[1:] if cache is not None else size)

    def _check_options(self, num_tokens: int | None, **options: object) -> None:
        if num_tokens is not None and self.spec.z.layout == "1d":
            self.spec.z.check_tokens(num_tokens)
        elif num_tokens is not None:
            options["num_tokens"] = num_tokens
        if self.spec.time != "none":
            options.pop("cache", None)
        if self.spec.num_steps is not None:
            options.pop("num_steps", None)
        for name, value in options.items():
            if value is not None:
                raise ValueError(f"this tokenizer has no {name}: leave it out")


def count_tokens(latent: Latent) -> int:
    """Tokens of a latent that is a row of them."""
    return int(next(iter({**latent.indices, **latent.parts}.values())).shape[-1])


def first_tokens(latent: Latent, count: int) -> Latent:
    """The first ``count`` tokens of every part and of their indices.

    Raises:
        ValueError: if it has fewer.
    """
    have = count_tokens(latent)
    if have < count:
        raise ValueError(f"the latent has {have} tokens, {count} were asked for: encode the picture again")
    return replace(
        latent,
        parts={name: value[..., :count] for name, value in latent.parts.items()},
        indices={name: value[..., :count] for name, value in latent.indices.items()},
    )


def check_pixels(x: Tensor, spec: LatentSpec, *, streaming: bool = False) -> None:
    """ValueError if x is not what a tokenizer with ``spec`` takes; ``streaming``: as a part of a clip."""
    clips = spec.time != "none"
    known = "(B, 3, H, W) or (B, 3, T, H, W)" if clips else "(B, 3, H, W)"
    if x.ndim not in ((4, 5) if clips else (4,)) or x.shape[1] != 3:
        raise ValueError(f"x must be {known}, got {tuple(x.shape)}")
    if streaming and x.ndim == 4:
        raise ValueError(f"with a cache x must be frames of a clip, (B, 3, T, H, W), got {tuple(x.shape)}")
    if 0 in (x.shape[3:] if streaming else x.shape[2:]):
        raise ValueError(f"x has no pixels: {tuple(x.shape)}")


def check_latent(latent: Latent, spec: LatentSpec, spec_id: str, *, continued: bool = False) -> None:
    """ValueError if ``latent`` was made by another tokenizer, or its parts or indices do not fit its size.

    ``continued``: it follows other latents of the same clip.
    """
    if latent.spec_id and spec_id and latent.spec_id != spec_id:
        raise ValueError(
            f"the latent belongs to spec {latent.spec_id}, this tokenizer is {spec_id}: "
            "decode it with the tokenizer that made it, or encode the picture again"
        )
    for name, shape in spec.shape(latent.size, continued=continued).items():
        if name in latent.indices and name not in latent.parts:
            check_indices(latent.indices[name], spec.part(name), latent.size, shape)
            continue
        if name not in latent.parts:
            raise ValueError(f"the latent lacks part {name!r}; it has {', '.join(latent.parts) or 'none'}")
        got = tuple(latent.parts[name].shape[1:])
        if not spec.part(name).fits(got, shape):
            raise ValueError(
                f"part {name!r} is {got}, but pixels of {latent.size} need {shape} (without batch)"
            )


def check_indices(indices: Tensor, part: PartSpec, size: Size, shape: tuple[int, ...] | None = None) -> None:
    """ValueError if codes (B, ...) are not those of a part for pixels of ``size``, its latent being of ``shape``."""
    wanted, got = part.index_shape(size, shape), tuple(indices.shape[1:])
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
