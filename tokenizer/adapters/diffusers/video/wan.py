"""diffusers' AutoencoderKLWan: its own layers, with a cache that the caller owns.

Their module walks a clip in pieces of one latent frame, and keeps the last frames of every causal convolution in
attributes of its own, numbered in the order of use. Here the same lists are filled from the caller's cache and
emptied into it, under the path of the convolution, so that nothing stays on the module.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.kl import KL
from tokenizer.layers.causal import Cache

NAME = "AutoencoderKLWan"
# What their upsampling puts into the list where the first frame passed it: nothing to remember but that.
PASSED = "Rep"

Memory = list[Tensor | str | None]


class Encoder(nn.Module):
    """x (B, 3, T, H, W) -> moments of the latent (B, 2C, T', H', W'), with T = 1 + n f for T' = 1 + n."""

    def __init__(self, module: Any, factor: int) -> None:  # their class is not typed
        super().__init__()
        self.network = module.encoder
        self.quant_conv = module.quant_conv
        self.patch_size = module.config.patch_size
        self.factor = factor
        self.places = causal_places(module.encoder)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """A clip from its first frame, or with a ``cache`` the next frames of one."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

        if self.patch_size is not None:
            x = patchify(x, self.patch_size)  # type: ignore[no-untyped-call]  # as all of theirs
        memory = recall(self.places, cache)
        found = []
        for piece in torch.split(x, _pieces(x.shape[2], memory[0] is None, self.factor), dim=2):
            used = [0]
            found.append(self.network(piece, feat_cache=memory, feat_idx=used))
            assert used[0] == len(self.places)  # every convolution found its own entry
        keep(self.places, memory, cache, x)
        h: Tensor = self.quant_conv(torch.cat(found, dim=2))
        return h


class Decoder(nn.Module):
    """z (B, C, T', H', W') -> x_hat (B, 3, T, H, W), not clamped as theirs."""

    def __init__(self, module: Any) -> None:  # as above
        super().__init__()
        self.network = module.decoder
        self.post_quant_conv = module.post_quant_conv
        self.patch_size = module.config.patch_size
        self.places = causal_places(module.decoder)

    def forward(self, z: Tensor, cache: Cache | None = None) -> Tensor:
        """Latents from the first of a clip, or with a ``cache`` the next ones."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        z = self.post_quant_conv(z)
        memory = recall(self.places, cache)
        found = []
        for piece in torch.split(z, 1, dim=2):
            first = memory[0] is None
            found.append(self.network(piece, feat_cache=memory, feat_idx=[0], first_chunk=first))
        keep(self.places, memory, cache, z)
        x_hat = torch.cat(found, dim=2)
        if self.patch_size is not None:
            x_hat = unpatchify(x_hat, self.patch_size)  # type: ignore[no-untyped-call]  # as above
        return x_hat


def causal_places(network: nn.Module) -> tuple[str, ...]:
    """Paths of the convolutions that remember frames, in the order in which they are used."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    return tuple(
        path
        for path, module in network.named_modules()
        if isinstance(module, WanCausalConv3d) and not path.endswith("conv_shortcut")
    )


def recall(places: Sequence[str], cache: Cache | None) -> Memory:
    """Their list, filled from a cache."""
    if cache is None:
        return [None] * len(places)
    found = [cache.get(place) for place in places]
    return [PASSED if value is not None and not value.numel() else value for value in found]


def keep(places: Sequence[str], memory: Memory, cache: Cache | None, like: Tensor) -> None:
    """Their list into a cache; ``like`` gives the device."""
    if cache is None:
        return
    for place, value in zip(places, memory, strict=True):
        if value is not None:
            cache[place] = value if isinstance(value, Tensor) else like.new_zeros(0)


def _pieces(frames: int, first: bool, factor: int) -> list[int]:
    """Lengths of pieces of one latent frame each."""
    lone = 1 if first else 0
    return [1] * lone + [factor] * ((frames - lone) // factor)


def parts(module: Any, factor: int) -> tuple[nn.Module, KL, nn.Module]:  # as above
    """Encoder, bottleneck and decoder that share the layers of a module of theirs."""
    return Encoder(module, factor), KL(module.config.z_dim), Decoder(module)
