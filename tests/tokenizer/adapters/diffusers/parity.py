"""Tiny models of diffusers with random weights, and what it means that ours are the same."""

from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder

DC: dict[str, dict[str, Any]] = {
    "stem downsamples": {"encoder_layers_per_block": (0, 1, 2), "decoder_layers_per_block": (0, 2, 1)},
    "stem keeps size": {"encoder_layers_per_block": (1, 1, 2), "decoder_layers_per_block": (2, 1, 1)},
    "no latent shortcuts": {
        "encoder_layers_per_block": (0, 1, 1),
        "decoder_layers_per_block": (0, 1, 1),
        "encoder_out_shortcut": False,
        "decoder_in_shortcut": False,
        "decoder_conv_act_fn": "silu",
    },
    "one name for all": {
        "encoder_layers_per_block": (1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1),
        "encoder_block_types": "ResBlock",
        "decoder_block_types": "ResBlock",
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "relu",
    },
}
DC |= {
    "SANA": {
        "encoder_layers_per_block": (1, 1, 2),
        "decoder_layers_per_block": (2, 1, 1),
        "downsample_block_type": "conv",
        "upsample_block_type": "interpolate",
        "encoder_qkv_multiscales": ((), (), (5,)),
        "decoder_qkv_multiscales": ((), (), (5,)),
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "silu",
    },
    "Lite": {
        "encoder_layers_per_block": (1, 1, 2),
        "decoder_layers_per_block": (0, 1, 2),
        "downsample_block_type": "conv",
        "encoder_qkv_multiscales": ((), (), (5,)),
        "decoder_block_types": "ResBlock",
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "silu",
        "decoder_conv_act_fn": "silu",
    },
    "1.1": {
        "encoder_layers_per_block": (0, 2, 1),
        "decoder_layers_per_block": (0, 2, 1),
        "encoder_block_types": "ResBlock",
        "decoder_block_types": "ResBlock",
        "encoder_out_shortcut": False,
        "decoder_in_shortcut": False,
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "silu",
        "decoder_conv_act_fn": "silu",
    },
    "two neighbourhoods, stem strided": {
        "encoder_layers_per_block": (0, 1, 1),
        "decoder_layers_per_block": (0, 1, 1),
        "downsample_block_type": "conv",
        "upsample_block_type": "interpolate",
        "encoder_qkv_multiscales": ((), (), (3, 5)),
        "decoder_qkv_multiscales": ((), (), (3, 5)),
    },
}


KL: dict[str, dict[str, Any]] = {
    "as published": {},
    "without quant conv": {"use_quant_conv": False, "use_post_quant_conv": False},
    "shift and scale": {"shift_factor": 0.0609, "scaling_factor": 1.5305},
    "per channel": {"latents_mean": (0.1, -0.2, 0.3, 0.0), "latents_std": (1.5, 0.5, 2.0, 1.0)},
    "no attention": {"mid_block_add_attention": False, "layers_per_block": 1},
    "attention at levels": {
        "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"),
    },
    "attention in the encoder": {
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    },
}


TINY: dict[str, dict[str, Any]] = {
    "as published": {},
    "other widths": {"encoder_block_out_channels": (8,) * 3, "decoder_block_out_channels": (12,) * 3},
    "other depths": {"num_encoder_blocks": (2, 0, 1), "num_decoder_blocks": (1, 2, 0)},
    "shift and scale": {"shift_factor": 0.0609, "scaling_factor": 1.5305, "latent_channels": 16},
}


VQ: dict[str, dict[str, Any]] = {
    "as published": {},
    "codes of another width": {"vq_embed_dim": 3},
    "MoVQ": {"norm_type": "spatial"},
    "MoVQ with attention at levels": {
        "norm_type": "spatial",
        "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    },
    "no attention": {"mid_block_add_attention": False, "layers_per_block": 2, "scaling_factor": 0.5},
}


UNEVEN = ([0.3, -0.2, 0.0, 1.0], [0.5, 1.0, 2.0, 1.5])


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and running statistics, so that no two tensors can be swapped unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.ndim > 1:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(0.2 * noise + ("norm" in name and name.endswith("weight")))
    return module.eval().requires_grad_(False)


def dc(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "latent_channels": 16,
        "attention_head_dim": 8,
        "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 16, 32),
        "decoder_block_out_channels": (8, 16, 32),
        "encoder_qkv_multiscales": ((), (), ()),
        "decoder_qkv_multiscales": ((), (), ()),
        "decoder_norm_types": ("batch_norm", "batch_norm", "rms_norm"),
        "decoder_act_fns": ("relu", "relu", "silu"),
        "scaling_factor": 0.41407,
    }
    return randomize(diffusers.AutoencoderDC(**settings | changes))


def kl(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 16, 16),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    return randomize(diffusers.AutoencoderKL(**settings | changes))


def taesd(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "encoder_block_out_channels": (8,) * 3,
        "decoder_block_out_channels": (8,) * 3,
        "num_encoder_blocks": (1, 2, 1),
        "num_decoder_blocks": (2, 1, 1),
    }
    return randomize(diffusers.AutoencoderTiny(**settings | changes))


def vq(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (32, 64),  # their spatial norm always has 32 groups
        "layers_per_block": 1,
        "norm_num_groups": 32,
        "latent_channels": 4,
        "num_vq_embeddings": 24,
    }
    return randomize(diffusers.VQModel(**settings | changes))


def picture(height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(7)) * 2 - 1


def their_latent(module: nn.Module, x: Tensor) -> Tensor:
    """The latent as their pipelines hand it to a generator."""
    config = module.config
    if isinstance(module, diffusers.AutoencoderDC):
        return module.encode(x).latent * config.scaling_factor
    if isinstance(module, diffusers.VQModel):
        return module.quantize(module.encode(x).latents)[0] * config.scaling_factor
    if isinstance(module, diffusers.AutoencoderTiny):
        return (module.encode(x).latents - config.shift_factor) * config.scaling_factor
    z = module.encode(x).latent_dist.mode()
    if config.latents_mean is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return (z - mean) / std * config.scaling_factor
    return (z - (config.shift_factor or 0.0)) * config.scaling_factor


def their_picture(module: nn.Module, z: Tensor) -> Tensor:
    config = module.config
    if getattr(config, "latents_mean", None) is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return module.decode(z * std / config.scaling_factor + mean).sample
    return module.decode(z / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)).sample


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3  # a constant would agree with anything
    assert (ours - theirs).abs().max() <= 1e-5 * (theirs.max() - theirs.min())


def assert_same(ours: Autoencoder, theirs: nn.Module, x: Tensor) -> None:
    latent = ours.encode(x)
    assert_close(latent.z, their_latent(theirs, x))
    assert_close(ours.decode(latent), their_picture(theirs, latent.z))


def assert_identical(back: nn.Module, theirs: nn.Module) -> None:
    state, expected = back.state_dict(), theirs.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def tiny(kind: str, statistics: tuple[list[float], list[float]] | None = None) -> Autoencoder:
    backbone: dict[str, Any] = {
        "dcae": {
            "latent_channels": 4,
            "widths": (8, 16, 32),
            "encoder_depths": (0, 1, 1),
            "decoder_depths": (0, 1, 1),
            "blocks": ("res", "res", "efficientvit"),
            "decoder_norms": ("batch", "batch", "rms"),
            "decoder_activations": ("relu", "relu", "silu"),
            "head_dim": 8,
        },
        "kl": {"widths": (8, 16, 16), "norm_groups": 4, "blocks_per_level": 1},
        "taesd": {
            "encoder_width": 8,
            "decoder_width": 8,
            "encoder_blocks": (1, 1, 1),
            "decoder_blocks": (1, 1, 1),
        },
        "vqgan": {
            "latent_channels": 4,
            "inner_channels": 6,
            "widths": (8, 16, 16),
            "norm_groups": 4,
            "blocks_per_level": 1,
            "encoder_attention": (2,),
            "decoder_attention": (),
        },
    }[kind]
    bottleneck: dict[str, Any] = {
        "dcae": {"kind": "identity"},
        "kl": {"kind": "kl"},
        "taesd": {"kind": "identity"},
        "vqgan": {"kind": "vq", "codebook_size": 16},
    }[kind]
    tree = {"backbone": {"kind": kind, **backbone}, "bottleneck": bottleneck}
    autoencoder = TokenizerConfig.parse(tree).build()
    randomize(autoencoder)
    if statistics is not None:
        autoencoder.spec = autoencoder.spec.with_statistics({"z": statistics})
    return autoencoder
