"""diffusers' AutoencoderKLCogVideoX: its own layers, with a cache that the caller owns.

Its convolutions are causal and its group norms are not: they see all frames of the piece that they are given. Their
module takes pieces of 8 frames and puts what remains into the first; here the first piece has 9 frames (frame 0
alone), the following 8, and what remains is the last. Both agree wherever a clip has 1 + 8 n frames, or one.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.kl import KL
from tokenizer.layers.causal import Cache

NAME = "AutoencoderKLCogVideoX"
FACTOR = 4
# Kernels of one frame: their class keeps whole pieces for them and never looks at those.
POINTWISE = ("conv_y", "conv_b")


class Encoder(nn.Module):
    """x (B, 3, T, H, W) -> moments of the latent (B, 2C, T', H', W')."""

    def __init__(self, module: Any) -> None:  # their class is not typed
        super().__init__()
        self.network = module.encoder

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """A chunk of a clip: the first, or with a ``cache`` the one that follows."""
        h: Tensor
        h, memory = self.network(x, conv_cache=tree(cache))
        keep(memory, cache)
        return h


class Decoder(nn.Module):
    """z (B, C, T', H', W') -> x_hat (B, 3, T, H, W)."""

    def __init__(self, module: Any) -> None:  # as above
        super().__init__()
        self.network = module.decoder

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """Latents of a chunk: the first, or with a ``cache`` the one that follows.

        Its upsampling takes a lone frame, or the first of an odd number, for the first of a clip. Where a shorter last
        chunk would meet that rule, its last latent is decoded twice and the frames of the copy are left out.
        """
        lone = 0 if cache else 1
        frames = lone + FACTOR * (z.shape[2] - lone)
        if (z.shape[2] - lone) % 2:
            z = torch.cat([z, z[:, :, -1:]], dim=2)
        x_hat: Tensor
        x_hat, memory = self.network(z, conv_cache=tree(cache))
        keep(memory, cache)
        return x_hat[:, :, :frames]


def tree(cache: Cache | None) -> dict[str, Any] | None:
    """A cache as their nested table of tensors; None where nothing is remembered yet."""
    if not cache:
        return None
    found: dict[str, Any] = {}
    for path, value in cache.items():
        *outer, leaf = path.split(".")
        branch = found
        for name in outer:
            branch = branch.setdefault(name, {})
        branch[leaf] = value
    return found


def keep(memory: Mapping[str, Any], cache: Cache | None, prefix: str = "") -> None:
    """Their nested table into a cache, under names joined by dots."""
    if cache is None:
        return
    for name, value in memory.items():
        if isinstance(value, Mapping):
            keep(value, cache, f"{prefix}{name}.")
        elif value is not None and name not in POINTWISE:
            cache[prefix + name] = value


def parts(module: Any, factor: int) -> tuple[nn.Module, KL, nn.Module]:  # as above
    """Encoder, bottleneck and decoder that share the layers of a module of theirs."""
    assert factor == FACTOR  # the spec refuses others
    return Encoder(module), KL(module.config.latent_channels), Decoder(module)
