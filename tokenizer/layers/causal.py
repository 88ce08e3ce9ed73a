"""Convolution that looks back in time only, and the cache with which a clip goes through a network in pieces.

The cache belongs to the caller: a mapping from the path of a layer in its network to the last frames of that
layer's input. A network that is given the same clip in pieces and one cache makes what it makes of the whole clip,
and two callers never see each other's frames.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from collections.abc import Iterator, MutableMapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.wavelets import haar3d, inverse_haar3d

Cache = MutableMapping[str, Tensor]


class Scoped(MutableMapping[str, Tensor]):
    """The part of a cache whose keys begin with ``prefix``, seen without it."""

    def __init__(self, cache: Cache, prefix: str) -> None:
        self.cache = cache
        self.prefix = prefix

    def __getitem__(self, key: str) -> Tensor:
        return self.cache[self.prefix + key]

    def __setitem__(self, key: str, value: Tensor) -> None:
        self.cache[self.prefix + key] = value

    def __delitem__(self, key: str) -> None:
        del self.cache[self.prefix + key]

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(self.prefix) for key in self.cache if key.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Remembering(nn.Module):
    """A layer that needs frames from before the piece it is given.

    Attributes:
        key: where it keeps them in a cache: its path in the network, which ``name_caches`` tells it once.
    """

    key: str = ""

    def recall(self, x: Tensor, cache: Cache | None, past: int, first: int) -> Tensor:
        """x (B, C, T, H, W) after the ``past`` frames before it; a clip's first frame comes ``first`` times more.

        What the next piece will need replaces it in the cache.
        """
        before = None if cache is None else cache.get(self.key)
        if before is None:
            before = x[:, :, :1].expand(-1, -1, first, -1, -1)
        x = torch.cat([before, x], dim=2)
        if cache is not None:
            if not self.key:
                raise RuntimeError(f"{type(self).__name__} was never named: call name_caches on its network")
            cache[self.key] = x[:, :, x.shape[2] - past :].clone()
        return x

    def begins(self, x: Tensor, cache: Cache | None) -> bool:
        """Whether x is the first piece of a clip, which is all that is remembered then."""
        if cache is None:
            return True
        first = self.key not in cache
        cache[self.key] = x.new_zeros(0)
        return first


def name_caches(network: nn.Module) -> None:
    """Tell every layer that remembers frames its path in ``network``, the key of its cache."""
    for path, module in network.named_modules():
        if isinstance(module, Remembering):
            module.key = path


class CausalConv3d(Remembering):
    """3D convolution whose frame t sees frames up to t: before the first frame stands its copy.

    With a temporal ``stride`` s, frame 0 stands alone and each further output covers s frames: 1 + n s frames
    become 1 + n; without ``first_frame_alone`` n s frames become n. In space it pads with zeros and keeps the sides,
    or takes ``padding`` (left, right, top, bottom).

    Args:
        in_channels: C.
        out_channels: C'.
        kernel: frames, rows, columns.
        stride: the same; frames at most those of the kernel.
        first_frame_alone: whether a clip has 1 + n s frames.
        padding: in space.
        groups: of channels that do not mix.

    Source: Yu et al. 2023, Language Model Beats Diffusion (MAGVIT-v2), arXiv 2310.05737, section 3.2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        stride: tuple[int, int, int] = (1, 1, 1),
        *,
        first_frame_alone: bool = True,
        padding: tuple[int, int, int, int] | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if stride[0] > kernel[0]:
            raise ValueError(f"a kernel of {kernel[0]} frames cannot walk {stride[0]} at a time")
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, groups=groups)
        same = (kernel[2] // 2, kernel[2] // 2, kernel[1] // 2, kernel[1] // 2)
        self.padding = same if padding is None else padding
        self.past = kernel[0] - stride[0]
        self.first = kernel[0] - 1 if first_frame_alone else self.past

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W), or the next frames of a clip -> (B, C', T', H', W')."""
        if self.past or self.first:
            x = self.recall(x, cache, self.past, self.first)
        if any(self.padding):
            x = F.pad(x, (*self.padding, 0, 0))
        out: Tensor = self.conv(x)
        return out


class ChunkConv3d(Remembering):
    """3D convolution that looks ahead inside a chunk of frames and back into the chunk before it.

    Behind a chunk's last frame stands its copy, before a clip's first frame its copy. What it is given at a time is
    the chunk.

    Args:
        in_channels: C.
        out_channels: C'.
        kernel: frames, rows, columns, all odd.
        bias: whether it has one.

    Source: Chen et al. 2025, DC-VideoGen, arXiv 2509.25182 (chunk-causal temporal modeling).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.reach = kernel[0] // 2
        padding = (0, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, padding=padding, bias=bias)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W), a chunk -> (B, C', T, H, W)."""
        if self.reach:
            x = self.recall(x, cache, self.reach, self.reach)
            x = torch.cat([x, x[:, :, -1:].expand(-1, -1, self.reach, -1, -1)], dim=2)
        out: Tensor = self.conv(x)
        return out


class CausalUpsample(Remembering):
    """Every frame ``factor`` times, except the first of a clip where it stands alone: 1 + n -> 1 + n s frames."""

    def __init__(self, factor: int, *, first_frame_alone: bool = True) -> None:
        super().__init__()
        self.factor = factor
        self.first_frame_alone = first_frame_alone

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', H, W)."""
        begins = self.begins(x, cache)
        x = x.repeat_interleave(self.factor, dim=2)
        return x[:, :, self.factor - 1 :] if begins and self.first_frame_alone else x


class CausalHaar(Remembering):
    """The Haar wavelet of a clip whose first frame stands alone, as a pair with its copy: 1 + 2n frames to 1 + n."""

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x (B, C, T, H, W) -> (B, 8 C, T', H/2, W/2) as ``haar3d``."""
        if self.begins(x, cache):
            x = torch.cat([x[:, :, :1], x], dim=2)
        return haar3d(x)


class CausalInverseHaar(Remembering):
    """The inverse of ``CausalHaar``: 1 + n frames to 1 + 2n."""

    def forward(self, bands: Tensor, cache: Cache | None = None) -> Tensor:
        """bands (B, 8 C, T, H, W) -> (B, C, T', 2H, 2W)."""
        begins = self.begins(bands, cache)
        x = inverse_haar3d(bands)
        return x[:, :, 1:] if begins else x
