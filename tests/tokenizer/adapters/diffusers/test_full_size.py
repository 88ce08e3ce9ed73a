"""Published sizes: every tensor of diffusers' full models has its place in ours (no memory is taken).

One of them, f32c32, is built with random weights and compared number by number.
"""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from tokenizer.adapters.diffusers import dc, from_diffusers, kl, tiny, to_diffusers
from tokenizer.backbones.dcae import DCAEConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core.config import find_preset
from tokenizer.training import TrainConfig

PRESETS = Path(__file__).parents[4] / "tokenizer" / "configs"


def published_dc(latent_channels: int, extra_stages: int) -> dict[str, Any]:
    """The ImageNet and mix models, as their config.json says."""
    stages = 6 + extra_stages
    vit = stages - 3
    return {
        "latent_channels": latent_channels,
        "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * vit,
        "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * vit,
        "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024) + (2048,) * extra_stages,
        "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024) + (2048,) * extra_stages,
        "encoder_layers_per_block": (0, 4, 8) + (2,) * vit,
        "decoder_layers_per_block": (0, 5, 10) + (2,) * vit,
        "encoder_qkv_multiscales": ((),) * stages,
        "decoder_qkv_multiscales": ((),) * stages,
        "decoder_norm_types": ("batch_norm",) * 3 + ("rms_norm",) * vit,
        "decoder_act_fns": ("relu",) * 3 + ("silu",) * vit,
    }


@pytest.mark.parametrize(
    ("latent_channels", "extra_stages", "factor", "millions"),
    [(32, 0, 32, 323.4), (128, 1, 64, 676.9), (512, 2, 128, None)],
    ids=["f32c32", "f64c128", "f128c512"],
)
def test_dc_ae(latent_channels: int, extra_stages: int, factor: int, millions: float | None) -> None:
    settings = published_dc(latent_channels, extra_stages)
    config = dc.config_from(settings)
    with torch.device("meta"):
        ours = config.build()
        theirs = diffusers.AutoencoderDC(**settings)
    assert ours.spec.z.spatial_factor == factor
    parameters = sum(parameter.numel() for parameter in ours.parameters())
    assert parameters == sum(parameter.numel() for parameter in theirs.parameters())
    if millions is not None:
        assert round(parameters / 1e6, 1) == millions
    mapped = {key: tensor.shape for key, tensor in dc.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}
    back = dc.config_to(ours)
    assert {key: back[key] for key in settings} == settings


# The descendants of DC-AE, as the configurations of their released models say (DC-Gen, Apache-2.0).
SANA: dict[str, Any] = {
    "latent_channels": 32,
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3, 3, 3, 3, 3, 3),
    "encoder_qkv_multiscales": ((),) * 3 + ((5,),) * 3,
    "decoder_qkv_multiscales": ((),) * 3 + ((5,),) * 3,
    "decoder_norm_types": ("rms_norm",) * 6,
    "decoder_act_fns": ("silu",) * 6,
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
    "decoder_conv_act_fn": "relu",
    "encoder_out_shortcut": True,
    "decoder_in_shortcut": True,
}
LITE = SANA | {
    "decoder_block_types": ("ResBlock",) * 6,
    "decoder_layers_per_block": (0, 3, 5, 4, 4, 4),
    "decoder_qkv_multiscales": ((),) * 6,
    "upsample_block_type": "pixel_shuffle",
    "decoder_conv_act_fn": "silu",
}


def residual(stages: int) -> dict[str, Any]:
    """DC-AE 1.1 and 1.5: residual blocks alone, no shortcut next to the latent."""
    return {
        "latent_channels": 128,
        "encoder_block_types": ("ResBlock",) * stages,
        "decoder_block_types": ("ResBlock",) * stages,
        "encoder_block_out_channels": (128, 256, 512, 512, *(1024,) * (stages - 4)),
        "decoder_block_out_channels": (128, 256, 512, 512, *(1024,) * (stages - 4)),
        "encoder_layers_per_block": (0, 5, 10, *(4,) * (stages - 3)),
        "decoder_layers_per_block": (0, 5, 10, *(4,) * (stages - 3)),
        "encoder_qkv_multiscales": ((),) * stages,
        "decoder_qkv_multiscales": ((),) * stages,
        "decoder_norm_types": ("rms_norm",) * stages,
        "decoder_act_fns": ("silu",) * stages,
        "encoder_out_shortcut": False,
        "decoder_in_shortcut": False,
        "decoder_conv_act_fn": "silu",
    }


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("dcae_sana_f32c32", SANA),
        ("dcae_lite_f32c32", LITE),
        ("dcae_1_1_f32c128", residual(6)),
        ("dcae_1_5_f64c128", residual(7)),
    ],
    ids=["SANA", "Lite", "1.1", "1.5"],
)
def test_descendants_of_dc_ae(preset: str, settings: dict[str, Any]) -> None:
    """Same tensors and as many parameters as theirs, the same settings back, and the preset of that name."""
    config = dc.config_from(settings)
    with torch.device("meta"):
        ours = config.build()
        theirs = diffusers.AutoencoderDC(**settings)
    parameters = sum(parameter.numel() for parameter in ours.parameters())
    assert parameters == sum(parameter.numel() for parameter in theirs.parameters())
    mapped = {key: tensor.shape for key, tensor in dc.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}
    back = dc.config_to(ours)
    assert {key: back[key] for key in settings} == settings
    assert TrainConfig.load(find_preset(preset, PRESETS), ["data.path=pictures", "out=run"]).model == config


def test_the_default_dc_ae_is_f32c32_as_published() -> None:
    config = dc.config_from(published_dc(32, 0))
    assert config.backbone == DCAEConfig()


@pytest.mark.parametrize(
    ("latent_channels", "quant", "millions"),
    [(4, True, 83.65), (16, False, 83.82)],
    ids=["f8c4", "f8c16 of SD3 and FLUX"],
)
def test_kl(latent_channels: int, quant: bool, millions: float) -> None:
    settings = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": latent_channels,
        "use_quant_conv": quant,
        "use_post_quant_conv": quant,
    }
    config = kl.config_from(settings)
    with torch.device("meta"):
        ours = config.build()
        theirs = diffusers.AutoencoderKL(**settings)
    assert ours.spec.z.spatial_factor == 8
    assert round(sum(parameter.numel() for parameter in ours.parameters()) / 1e6, 2) == millions
    mapped = {key: tensor.shape for key, tensor in kl.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}
    back = kl.config_to(ours)
    assert {key: back[key] for key in settings} == settings


def test_kl_f16c16() -> None:
    """MAR's KL-16 in their words: attention at the encoder's last level only."""
    settings = {
        "down_block_types": ("DownEncoderBlock2D",) * 4 + ("AttnDownEncoderBlock2D",),
        "up_block_types": ("UpDecoderBlock2D",) * 5,
        "block_out_channels": (128, 128, 256, 256, 512),
        "layers_per_block": 2,
        "latent_channels": 16,
    }
    config = kl.config_from(settings)
    with torch.device("meta"):
        ours = config.build()
        theirs = diffusers.AutoencoderKL(**settings)
    assert ours.spec.z.spatial_factor == 16
    mapped = {key: tensor.shape for key, tensor in kl.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}
    back = kl.config_to(ours)
    assert {key: back[key] for key in settings} == settings


@pytest.mark.parametrize("name", ["kl_f8c4", "kl_f8c16", "kl_f16c16", "taesd"])
def test_presets_are_what_diffusers_builds(name: str) -> None:
    """A preset, exported, has the tensors of diffusers' class for its settings."""
    config = TrainConfig.load(find_preset(name, PRESETS), ["data.path=pictures", "out=run"]).model
    assert config is not None
    family = tiny if name == "taesd" else kl
    with torch.device("meta"):
        ours = config.build()
        theirs = getattr(diffusers, family.NAME)(**family.config_to(ours))
    mapped = {key: tensor.shape for key, tensor in family.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}


@pytest.mark.slow
@torch.no_grad()
def test_full_f32c32_gives_the_same_numbers_both_ways() -> None:
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderDC(**published_dc(32, 0), scaling_factor=0.3189).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    x = torch.rand(1, 3, 224, 192) * 2 - 1  # 7 x 6 latents: enough positions for the linear form
    z = theirs.encode(x).latent
    x_hat = theirs.decode(z).sample
    ours = from_diffusers(theirs)
    state = {
        key: tensor for key, tensor in theirs.state_dict().items() if key.startswith("decoder.up_blocks.4")
    }
    del theirs
    latent = ours.encode(x)
    assert (latent.z - z * 0.3189).abs().max() <= 1e-5 * (z.max() - z.min()) * 0.3189
    assert (ours.decode(latent) - x_hat).abs().max() <= 1e-5 * (x_hat.max() - x_hat.min())
    back = to_diffusers(ours).state_dict()
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())


def test_the_default_kl_is_f8c4_as_published() -> None:
    published = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2} | {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    default = TokenizerConfig.parse({"backbone": {"kind": "kl"}, "bottleneck": {"kind": "kl"}})
    assert kl.config_from(published) == default
