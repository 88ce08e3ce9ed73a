"""Tiny video autoencoders of diffusers with random weights, and the laws that ours must follow beside them.

Letters: B clips, T frames.
"""

from collections.abc import Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from tests.tokenizer.adapters.diffusers.parity import randomize
from tokenizer.clips import finish
from tokenizer.layers.causal import Cache
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent
from tokenizer.streaming import decode_stream, encode_stream


def wan(**changes: Any) -> nn.Module:
    """f4t4c4; the published ones are Wan 2.1 (plain) and 2.2 (residual, patches)."""
    settings: dict[str, Any] = {
        "base_dim": 8,
        "z_dim": 4,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [True, True],
        "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [1.5, 0.5, 2.0, 1.0],
    }
    return randomize(diffusers.AutoencoderKLWan(**settings | changes))


WAN_22: dict[str, Any] = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}


def cogvideox(**changes: Any) -> nn.Module:
    """f8t4c4."""
    settings: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "latent_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 2,
    }
    return randomize(diffusers.AutoencoderKLCogVideoX(**settings | changes))


def vidtok(**changes: Any) -> nn.Module:
    """f4t4c4."""
    settings: dict[str, Any] = {"ch": 8, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "tempo_ds": [0, 1]}
    return randomize(diffusers.AutoencoderVidTok(**settings | changes))


def ltx(**changes: Any) -> nn.Module:
    """f4t2c4, with statistics that are not 0 and 1."""
    settings: dict[str, Any] = {
        "latent_channels": 4,
        "block_out_channels": (8, 16),
        "decoder_block_out_channels": (8, 16),
        "layers_per_block": (1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1),
        "down_block_types": ("LTXVideoDownBlock3D",) * 2,
        "spatio_temporal_scaling": (True, False),
        "decoder_spatio_temporal_scaling": (True, False),
        "decoder_inject_noise": (False,) * 3,
        "downsample_type": ("conv",) * 2,
        "upsample_residual": (False,) * 2,
        "upsample_factor": (1, 1),
        "patch_size": 2,
    }
    module = randomize(diffusers.AutoencoderKLLTXVideo(**settings | changes))
    state: dict[str, Tensor] = module.state_dict()
    state["latents_std"].copy_(torch.tensor([0.5, 1.0, 2.0, 1.5]))
    return module


def clip(frames: int, height: int = 16, width: int = 16, seed: int = 7) -> Tensor:
    """One clip (1, 3, T, H, W) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1


def pieces(x: Tensor, seed: int) -> list[Tensor]:
    """x cut along its frames into one to seven at a time."""
    generator = torch.Generator().manual_seed(seed)
    lengths: list[int] = []
    while sum(lengths) < x.shape[2]:
        lengths.append(int(torch.randint(1, 8, (), generator=generator)))
    lengths[-1] -= sum(lengths) - x.shape[2]
    return list(x.split(lengths, dim=2))


def streamed(ours: Autoencoder, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(z, x_hat) of pieces of a clip that went through both networks as they came."""
    latents = list(encode_stream(ours, parts))
    return torch.cat([latent.z for latent in latents], dim=2), torch.cat(
        list(decode_stream(ours, latents)), dim=2
    )


def interleaved(ours: Autoencoder, clips: Sequence[Tensor], step: int) -> list[tuple[Tensor, Tensor]]:
    """(z, x_hat) of several clips of one length whose pieces take turns, each with caches of its own."""
    encoding: list[Cache] = [{} for _ in clips]
    decoding: list[Cache] = [{} for _ in clips]
    found: list[list[Latent]] = [[] for _ in clips]
    frames: list[list[Tensor]] = [[] for _ in clips]
    rounds = list(zip(*(x.split(step, dim=2) for x in clips), strict=True))
    for turn, parts in enumerate(rounds):
        for number, part in enumerate(parts):
            if turn == len(rounds) - 1:
                finish(encoding[number])
                finish(decoding[number])
            latent = ours.encode(part, cache=encoding[number])
            found[number].append(latent)
            frames[number].append(ours.decode(latent, cache=decoding[number]))
    return [
        (torch.cat([latent.z for latent in latents], dim=2), torch.cat(made, dim=2))
        for latents, made in zip(found, frames, strict=True)
    ]


def tensors_kept(module: nn.Module) -> list[str]:
    """Attributes of all modules inside that hold tensors and are no parameters or buffers."""
    found = []
    for path, inner in module.named_modules():
        for name, value in vars(inner).items():
            values = value if isinstance(value, list | tuple) else [value]
            if not name.startswith("_") and any(isinstance(item, Tensor) for item in values):
                found.append(f"{path}.{name}")
    return found


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3  # a constant would agree with anything
    assert (ours - theirs).abs().max() <= tolerance * (theirs.max() - theirs.min())
