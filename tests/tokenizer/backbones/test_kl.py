"""The KL autoencoder on its own; its equality with diffusers is in adapters/diffusers/test_kl.py."""

from typing import Any

import pytest
import torch
from torch import nn

from tokenizer.backbones.kl import KLBackboneConfig
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Attention, Level, ResBlock
from tokenizer.slice import difference, sliced


def tiny(**changes: Any) -> KLBackboneConfig:
    return KLBackboneConfig.parse({"widths": (8, 16, 16), "norm_groups": 4, "blocks_per_level": 1} | changes)


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 8, 16, 16)])
@pytest.mark.parametrize("attention", [True, False])
def test_shapes_follow_the_factor(widths: tuple[int, ...], attention: bool) -> None:
    config = tiny(widths=widths, mid_attention=attention, latent_channels=3)
    factor = config.spatial_factor
    assert factor == 2 ** (len(widths) - 1)
    encoder, decoder = config.build_encoder(6), config.build_decoder()
    h = encoder(torch.randn(2, 3, 2 * factor, 3 * factor))
    assert h.shape == (2, 6, 2, 3)
    assert decoder(h[:, :3]).shape == (2, 3, 2 * factor, 3 * factor)


def test_published_f8c4_size() -> None:
    """83.65M parameters: sd-vae-ft-mse and every other f8c4 checkpoint of latent diffusion."""
    with torch.device("meta"):
        model = TokenizerConfig.parse({"backbone": {"kind": "kl"}, "bottleneck": {"kind": "kl"}}).build()
    assert sum(parameter.numel() for parameter in model.parameters()) == 83_653_863
    assert model.spec.z.spatial_factor == 8
    assert model.spec.z.channels == 4


def test_attention_stands_where_f16c16_has_it() -> None:
    """MAR's KL-16: attention after each of the encoder's last blocks, none in the decoder's levels."""
    tree = {
        "backbone": {
            "kind": "kl",
            "latent_channels": 16,
            "widths": (128, 128, 256, 256, 512),
            "encoder_attention": (4,),
        },
        "bottleneck": {"kind": "kl"},
    }
    with torch.device("meta"):
        model = TokenizerConfig.parse(tree).build()
    assert model.spec.z.spatial_factor == 16
    found = [name for name, module in model.named_modules() if isinstance(module, Attention)]
    levels = ["encoder.levels.4.attention0", "encoder.levels.4.attention1"]
    assert found == [*levels, "encoder.mid.attention", "decoder.mid.attention"]


@pytest.mark.parametrize("size", [(13, 18), (1, 5), (32, 24)])
def test_sizes_that_do_not_divide_are_padded_and_cropped(size: tuple[int, int]) -> None:
    backbone = {"kind": "kl", "widths": (8, 16, 16), "norm_groups": 4, "encoder_attention": (1, 2)}
    model = TokenizerConfig.parse({"backbone": backbone, "bottleneck": {"kind": "kl"}}).build().eval()
    model.spec = model.spec.from_convention(1.0)
    x = torch.rand(1, 3, *size) * 2 - 1
    with torch.no_grad():
        assert model.decode(model.encode(x)).shape == x.shape


def test_the_quant_convolutions_stand_at_the_latent() -> None:
    config = tiny()
    assert list(dict(config.build_encoder(8).named_children()))[-1] == "quant_conv"
    assert next(iter(dict(config.build_decoder().named_children()))) == "post_quant_conv"
    without = tiny(quant_conv=False, post_quant_conv=False)
    assert isinstance(without.build_encoder(8).quant_conv, nn.Identity)
    assert isinstance(without.build_decoder().post_quant_conv, nn.Identity)


def test_the_decoder_has_one_block_more_a_level() -> None:
    config = tiny(blocks_per_level=2)
    for module, expected in ((config.build_encoder(8), 2), (config.build_decoder(), 3)):
        for level in module.levels:
            assert isinstance(level, Level)
            assert sum(isinstance(block, ResBlock) for block in level) == expected


def test_every_parameter_gets_a_finite_gradient() -> None:
    model = TokenizerConfig.parse(
        {
            "backbone": {"kind": "kl", "widths": (8, 16), "norm_groups": 4, "blocks_per_level": 1},
            "bottleneck": {"kind": "kl"},
        }
    ).build()
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    step = model(x, sample=True, noise=torch.randn(1, 4, 4, 4))
    ((step.x_hat - x).square().mean() + step.bottleneck.loss).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0 or name.endswith("attention.qkv.bias"), name


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    encoder = tiny().build_encoder(8).eval()
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        full = encoder(x)
        half = encoder.to(torch.bfloat16)(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 0.05 * (full.max() - full.min())


def test_a_width_that_the_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 12 must be a multiple of norm_groups, 8"):
        KLBackboneConfig.parse({"widths": (8, 12), "norm_groups": 8})
    with pytest.raises(ValueError, match="widths"):
        KLBackboneConfig.parse({"widths": ()})
    with pytest.raises(ValueError, match="encoder_attention names positions in widths, 0 to 3"):
        KLBackboneConfig.parse({"encoder_attention": (4,)})


def test_the_latent_can_lose_channels() -> None:
    config = TokenizerConfig.parse(
        {
            "backbone": tiny(quant_conv=False, post_quant_conv=False).model_dump(),
            "bottleneck": {"kind": "kl"},
        }
    )
    torch.manual_seed(0)
    whole = config.build().eval()
    cut = sliced(whole, config, 2)
    assert cut.spec.z.channels == 2
    assert difference(whole, cut, torch.rand(1, 3, 16, 24) * 2 - 1) <= 1e-5
    with pytest.raises(ValueError, match="mix all channels of the latent"):
        tiny().latent_layers()
