"""What a latent is: the whole interface between a tokenizer and everything downstream.

A ``LatentSpec`` is frozen, saved with the weights, and the only place where latents are normalised. This file
imports no torch, so a process that only checks shapes (the HTTP front) can use it.

Letters: B batch, C latent channels, N tokens, T frames, H W pixels, S a size: (H, W) or (T, H, W).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from tokenizer.core.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

Size = tuple[int, ...]


def _absent(value: object) -> bool:
    """Left out of files: what most parts lack must not change the ``spec_id`` of those."""
    return value is None


class PartSpec(Config):
    """One named tensor of a latent.

    ``mean`` and ``std`` are per channel, of the raw latents over a data set; both are None until measured.
    ``codebook_size`` is None where the part is continuous; ``scales`` are the sides of the token maps of a
    multi-scale code, coarse to fine, for a latent of side ``scales[-1]``. ``allocation`` belongs to rows of tokens that
    are encoded for a number of tokens: multiples of it are allowed, and no row is the beginning of a longer one.
    """

    name: str = "z"
    layout: Literal["1d", "2d", "3d"] = "2d"
    channels: int
    spatial_factor: int = 1
    temporal_factor: int = 1
    num_tokens: int | tuple[int, int] | None = None
    codebook_size: int | None = None
    num_codebooks: int = 1
    scales: tuple[int, ...] | None = Field(default=None, exclude_if=_absent)
    allocation: int | None = Field(default=None, ge=1, exclude_if=_absent)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> PartSpec:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std come together")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != self.channels or len(self.std) != self.channels:
                raise ValueError(f"mean and std need {self.channels} values each")
            if not all(math.isfinite(value) for value in self.mean) or not all(
                math.isfinite(value) and value > 0 for value in self.std
            ):
                raise ValueError("mean must be finite, std finite and positive")
        if self.scales is not None and (
            self.codebook_size is None or self.layout != "2d" or self.num_codebooks != 1
        ):
            raise ValueError("scales belong to a 2d part with one codebook")
        if (self.layout == "1d") != (self.num_tokens is not None):
            raise ValueError("num_tokens belongs to layout 1d, and only there")
        if self.num_tokens is not None and not 1 <= self.token_range[0] <= self.token_range[1]:
            raise ValueError(f"num_tokens must be at least 1, a range must rise; got {self.num_tokens}")
        if self.allocation is not None and any(count % self.allocation for count in self.token_range):
            raise ValueError(f"num_tokens must be multiples of {self.allocation}; got {self.num_tokens}")
        return self

    @property
    def token_range(self) -> tuple[int, int]:
        """The fewest and the most tokens of a 1d part, equal where the number is fixed; ValueError if it is a grid."""
        if self.num_tokens is None:
            raise ValueError(f"part {self.name!r} is a grid; it has no number of tokens")
        return self.num_tokens if isinstance(self.num_tokens, tuple) else (self.num_tokens, self.num_tokens)

    @property
    def token_counts(self) -> range:
        """Every number of tokens that a 1d part can have, rising; ValueError as ``token_range``."""
        low, high = self.token_range
        return range(low, high + 1, self.allocation or 1)

    def check_tokens(self, count: int) -> None:
        """ValueError, saying which there are, where a latent cannot have ``count`` tokens."""
        if count not in self.token_counts:
            raise ValueError(f"part {self.name!r} has {self.known_counts()} tokens, not {count}")

    def known_counts(self) -> str:
        """The numbers of tokens that a 1d part can have, in words."""
        counts = self.token_counts
        listed = self.allocation or len(counts) == 1
        return ", ".join(map(str, counts)) if listed else f"{counts[0]} to {counts[-1]}"

    def fits(self, shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
        """Whether a sample of ``shape`` is one of ``full`` (the most tokens), or of a 1d part a shorter one."""
        if self.layout != "1d":
            return shape == full
        return len(shape) == len(full) and shape[:-1] == full[:-1] and shape[-1] in self.token_counts

    @property
    def index_dtype(self) -> Literal["uint16", "uint32"]:
        """The smallest type that files and answers hold an index in; ValueError if the part is continuous."""
        if self.codebook_size is None:
            raise ValueError(f"part {self.name!r} is continuous; it has no indices")
        return "uint16" if self.codebook_size <= 2**16 else "uint32"

    def index_shape(self, size: Size, shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Shape of one sample's indices (no batch axis): the grid, Q grids, or all scales in one row.

        ``shape``: of the latent (``LatentSpec.shape``), where that depends on more than the size, as clips' does.

        Raises:
            ValueError: if the part is continuous.
        """
        if self.codebook_size is None:
            raise ValueError(f"part {self.name!r} is continuous; it has no indices")
        grid = (shape or self.shape(size))[1:]
        if self.scales is not None:
            return (sum(math.prod(cells) for cells in scale_grids(self.scales, grid)),)
        return grid if self.num_codebooks == 1 else (self.num_codebooks, *grid)

    def shape(self, size: Size) -> tuple[int, ...]:
        """Shape of one sample (no batch axis) for pixels of ``size``; 1d takes the largest number of tokens."""
        if self.layout == "1d":
            return (self.channels, self.token_range[1])
        height, width = (-(-side // self.spatial_factor) for side in size[-2:])
        if self.layout == "2d":
            return (self.channels, height, width)
        frames = size[0] if len(size) == 3 else 1
        return (self.channels, -(-frames // self.temporal_factor), height, width)


def scale_grids(scales: Sequence[int], grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The token maps of a multi-scale code: one grid a scale for a latent of ``grid``, the last one the grid itself.

    ``scales`` are sides for a latent of side ``scales[-1]``; other grids take the same proportions, rounded up.
    """
    return [tuple(-(-side * scale // scales[-1]) for side in grid) for scale in scales]


@dataclass(frozen=True, slots=True)
class Timeline:
    """How a video family sees time.

    Attributes:
        factor: frames of one latent frame.
        kind: what a latent frame may see: the past; the past and its own chunk; the whole clip.
        chunk_frames: frames of a chunk, or of a clip where the kind is global; a multiple of the factor.
        first_frame_alone: whether the first frame has a latent frame of its own.

    Raises:
        ValueError: if the attributes contradict each other.
    """

    factor: int
    kind: Literal["causal", "chunk_causal", "global"] = "causal"
    chunk_frames: int | None = None
    first_frame_alone: bool = True

    def __post_init__(self) -> None:
        if (self.kind == "causal") != (self.chunk_frames is None):
            raise ValueError("chunk_frames belongs to chunk_causal and global families, and only there")
        if self.chunk_frames is not None and self.chunk_frames % self.factor:
            raise ValueError(
                f"chunk_frames {self.chunk_frames} must be a multiple of the factor {self.factor}"
            )


class LatentSpec(Config):
    """The parts of a latent, how they relate to pixels, and how they are normalised.

    ``num_steps``: of a decoder that draws the pixels, unless a call says otherwise; None of one that computes them.
    """

    parts: tuple[PartSpec, ...]
    time: Literal["none", "causal", "chunk_causal", "global"] = "none"
    chunk_frames: int | None = None
    first_frame_alone: bool = False
    num_steps: int | None = Field(default=None, ge=1, exclude_if=_absent)

    @classmethod
    def image(
        cls,
        channels: int,
        spatial_factor: int,
        *,
        codebook_size: int | None = None,
        num_codebooks: int = 1,
        scales: tuple[int, ...] | None = None,
        num_tokens: int | tuple[int, int] | None = None,
        allocation: int | None = None,
    ) -> LatentSpec:
        """The spec of an ordinary image family: one part ``z`` on a grid or of tokens, not measured yet."""
        part = PartSpec(
            layout="2d" if num_tokens is None else "1d",
            num_tokens=num_tokens,
            channels=channels,
            spatial_factor=spatial_factor,
            codebook_size=codebook_size,
            num_codebooks=num_codebooks,
            scales=scales,
            allocation=allocation,
        )
        return cls(parts=(part,))

    @classmethod
    def video(
        cls,
        channels: int,
        spatial_factor: int,
        time: Timeline,
        *,
        codebook_size: int | None = None,
        num_codebooks: int = 1,
    ) -> LatentSpec:
        """The spec of an ordinary video family: one part ``z`` on a grid of frames, not measured yet."""
        part = PartSpec(
            layout="3d",
            channels=channels,
            spatial_factor=spatial_factor,
            temporal_factor=time.factor,
            codebook_size=codebook_size,
            num_codebooks=num_codebooks,
        )
        return cls(
            parts=(part,),
            time=time.kind,
            chunk_frames=time.chunk_frames,
            first_frame_alone=time.first_frame_alone,
        )

    @property
    def z(self) -> PartSpec:
        """The part of ordinary families.

        Raises:
            ValueError: if the latent has several parts.
        """
        if len(self.parts) != 1:
            raise ValueError(f"this latent has parts {', '.join(part.name for part in self.parts)}; name one")
        return self.parts[0]

    @property
    def has_statistics(self) -> bool:
        """Whether every part knows its mean and std."""
        return all(part.mean is not None for part in self.parts)

    def part(self, name: str) -> PartSpec:
        """The part called ``name``.

        Raises:
            ValueError: listing the parts there are.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise ValueError(f"no part {name!r}: this latent has {', '.join(part.name for part in self.parts)}")

    def padded(self, size: Size, *, continued: bool = False) -> Size:
        """The smallest size that the network can take and that holds ``size``.

        ``continued``: these frames follow others of the same clip, so that none of them stands alone.
        """
        factor = math.lcm(*(part.spatial_factor for part in self.parts))
        spatial = tuple(max(factor, -(-side // factor) * factor) for side in size[-2:])
        if len(size) == 2:
            return spatial
        step = math.lcm(*(part.temporal_factor for part in self.parts))
        if self.time == "global" and self.chunk_frames is not None:
            step = self.chunk_frames
        lone = 1 if self.first_frame_alone and not continued else 0
        if size[0] == 0:
            return (0, *spatial)
        frames = max(0, -(-(size[0] - lone) // step)) * step + lone
        return (max(frames, lone or step), *spatial)

    def shape(self, size: Size, *, continued: bool = False) -> dict[str, tuple[int, ...]]:
        """Shape of every part of one sample (no batch axis) for pixels of ``size``.

        ``continued``: as for ``padded``. No frames have no latent frames.
        """
        padded = self.padded(size, continued=continued)
        lone = 1 if self.first_frame_alone and not continued else 0
        shapes = {}
        for part in self.parts:
            if part.layout == "3d" and len(padded) == 3 and padded[0]:
                frames = lone + (padded[0] - lone) // part.temporal_factor
                shapes[part.name] = (part.channels, frames, *part.shape(padded)[2:])
            else:
                shapes[part.name] = part.shape(padded)
        return shapes

    def bits(self, size: Size, *, bits_per_value: int = 16) -> float:
        """Bits of one latent for pixels of ``size``: log2 of the codes sent, or values times ``bits_per_value``."""
        total = 0.0
        for part, shape in zip(self.parts, self.shape(size).values(), strict=True):
            if part.codebook_size is None:
                total += math.prod(shape) * bits_per_value
            else:
                total += math.prod(part.index_shape(self.padded(size), shape)) * math.log2(part.codebook_size)
        return total

    def normalize(self, z: Tensor, name: str | None = None) -> Tensor:
        """Raw latents (B, C, ...) -> about zero mean and unit variance a channel.

        Raises:
            ValueError: if the statistics were never measured.
        """
        mean, std = self._statistics(z, name)
        return (z - mean) / std

    def denormalize(self, z: Tensor, name: str | None = None) -> Tensor:
        """The inverse of ``normalize``."""
        mean, std = self._statistics(z, name)
        return z * std + mean

    def with_statistics(
        self, statistics: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None
    ) -> LatentSpec:
        """A copy that knows (mean, std) of every part named, or with None a copy that knows none."""
        parts = []
        for part in self.parts:
            mean, std = (None, None) if statistics is None else statistics[part.name]
            data = part.model_dump() | {"mean": mean, "std": std}
            parts.append(PartSpec.parse(data))
        return self.model_copy(update={"parts": tuple(parts)})

    def from_convention(
        self, scale: float | Sequence[float], shift: float | Sequence[float] = 0.0
    ) -> LatentSpec:
        """A copy that normalises as others do: ``(z_raw - shift) * scale``, scalars or one value a channel.

        Raises:
            ValueError: if a scale is not positive, or there is not one value a channel.

        Source: SD3 and FLUX shift and scale, DC-AE scale, Wan mean (shift) and 1/std (scale).
        """
        channels = self.z.channels
        scales = (
            [float(scale)] * channels if isinstance(scale, int | float) else [float(value) for value in scale]
        )
        shifts = (
            [float(shift)] * channels if isinstance(shift, int | float) else [float(value) for value in shift]
        )
        if not all(value > 0 for value in scales):
            raise ValueError(f"a latent's scale must be positive, got {scale}")
        return self.with_statistics({self.z.name: (shifts, [1.0 / value for value in scales])})

    def spec_id(self, weights_sha256: str) -> str:
        """Identity of a latent space: 16 hexadecimal digits over the weights' hash and this spec."""
        return hashlib.sha256(f"{weights_sha256}\n{self.to_json()}".encode()).hexdigest()[:16]

    def _statistics(self, z: Tensor, name: str | None) -> tuple[Tensor, Tensor]:
        part = self.z if name is None else self.part(name)
        if part.mean is None or part.std is None:
            raise ValueError(
                "this tokenizer has no latent statistics yet: measure them with "
                "`python -m tokenizer.stats source=FOLDER data.path=PICTURES`"
            )
        if z.shape[1] != part.channels:
            raise ValueError(f"part {part.name!r} has {part.channels} channels, the latent {z.shape[1]}")
        shape = (1, -1) + (1,) * (z.ndim - 2)
        return z.new_tensor(part.mean).view(shape), z.new_tensor(part.std).view(shape)


@dataclass(frozen=True, slots=True)
class Latent:
    """What ``encode`` gives and ``decode`` takes.

    Attributes:
        parts: normalised tensors by name, each (B, C, ...) as ``LatentSpec.shape`` says; a discrete part may be
            given by its indices alone.
        size: pixel size to crop back to, (H, W) or (T, H, W).
        spec_id: identity of the latent space; empty for a tokenizer that was never saved.
        indices: codes by part name, int64, (B, ...) as ``PartSpec.index_shape`` says, for discrete parts.
    """

    parts: dict[str, Tensor]
    size: Size
    spec_id: str = ""
    indices: dict[str, Tensor] = field(default_factory=dict)

    @property
    def z(self) -> Tensor:
        """The only part of ordinary families, normalised (B, C, ...)."""
        (z,) = self.parts.values()
        return z
