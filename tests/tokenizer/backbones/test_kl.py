"""The KL autoencoder on its own; its equality with diffusers is in adapters/test_diffusers.py."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tokenizer.backbones.kl import Attention, Downsample, KLBackboneConfig, Level, ResBlock, Upsample
from tokenizer.config import TokenizerConfig


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


def test_attention_is_softmax_over_all_positions() -> None:
    attention = Attention(8, groups=4).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)  # (B, C, N)
    weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q, k) / math.sqrt(8), dim=-1)
    expected = x + attention.proj(torch.einsum("bnm,bcm->bcn", weights, v).view_as(x))
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-10)


def test_attention_follows_a_permutation_of_positions() -> None:
    attention = Attention(8, groups=4).double()
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    order = torch.randperm(16)
    shuffled = x.flatten(2)[..., order].view_as(x)
    expected = attention(x).flatten(2)[..., order].view_as(x)
    torch.testing.assert_close(attention(shuffled), expected, rtol=0, atol=1e-10)


def test_a_block_that_adds_nothing_is_the_identity() -> None:
    block = ResBlock(8, 8, groups=4)
    for parameter in block.conv2.parameters():
        parameter.data.zero_()
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_downsampling_pads_on_the_right_and_the_bottom_only() -> None:
    down = Downsample(1)
    down.conv.weight.data.zero_()
    down.conv.weight.data[0, 0, 0, 0] = 1.0  # the top left tap reads pixel (2i, 2j): no padding before it
    assert down.conv.bias is not None
    down.conv.bias.data.zero_()
    x = torch.randn(1, 1, 6, 4)
    assert torch.equal(down(x), x[..., ::2, ::2])


def test_upsampling_repeats_pixels() -> None:
    up = Upsample(2)
    nn.init.dirac_(up.conv.weight)
    assert up.conv.bias is not None
    up.conv.bias.data.zero_()
    x = torch.randn(1, 2, 3, 4)
    torch.testing.assert_close(up(x), x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2))


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
