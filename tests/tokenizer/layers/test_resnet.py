"""Blocks of the convolutional families: attention, resampling, norms that read the latent, modulated convolution."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.resnet import (
    Attention,
    Conv3x3,
    Decoder,
    Downsample,
    Encoder,
    GroupNorm,
    Level,
    ResBlock,
    SelfModulatedConv,
    SpatialNorm,
    Unchanged,
    Upsample,
)

norm = partial(GroupNorm, groups=4)


def test_attention_is_softmax_over_all_positions() -> None:
    attention = Attention(8, norm).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)  # (B, C, N)
    weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q, k) / math.sqrt(8), dim=-1)
    expected = x + attention.proj(torch.einsum("bnm,bcm->bcn", weights, v).view_as(x))
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-10)


def test_attention_follows_a_permutation_of_positions() -> None:
    attention = Attention(8, norm).double()
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    order = torch.randperm(16)
    shuffled = x.flatten(2)[..., order].view_as(x)
    expected = attention(x).flatten(2)[..., order].view_as(x)
    torch.testing.assert_close(attention(shuffled), expected, rtol=0, atol=1e-10)


def test_a_block_that_adds_nothing_is_the_identity() -> None:
    block = ResBlock(8, 8, norm)
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


def test_spatial_norm_is_a_group_norm_that_the_latent_modulates() -> None:
    torch.manual_seed(0)
    spatial = SpatialNorm(8, 4, latent_channels=3).double()
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    z = torch.randn(2, 3, 2, 3, dtype=torch.float64)
    near = z.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    grouped = x.view(2, 4, -1)
    mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, unbiased=False, keepdim=True)
    normed = ((grouped - mean) / (variance + 1e-6).sqrt()).view_as(x)
    expected = normed * spatial.scale(near) + spatial.shift(near)
    torch.testing.assert_close(spatial(x, z), expected, rtol=0, atol=1e-10)


def test_a_change_of_the_latent_stays_where_it_is_in_a_spatial_norm() -> None:
    spatial = SpatialNorm(8, 4, latent_channels=3)
    x, z = torch.randn(1, 8, 4, 4), torch.randn(1, 3, 2, 2)
    other = z.clone()
    other[..., 0, 1] += 1
    moved = (spatial(x, other) - spatial(x, z)).abs().amax(dim=1)[0] > 1e-6
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:2, 2:] = True
    assert torch.equal(moved, expected)


def modulated(conv: SelfModulatedConv) -> Tensor:
    """Equation 3 of LiteVAE, output by output."""
    rows = []
    for row in conv.conv.weight.detach().double():
        scaled = torch.stack([plane * s for plane, s in zip(row, conv.scales.detach().double(), strict=True)])
        rows.append(conv.gain.detach().double() * scaled / math.sqrt(float(scaled.square().sum()) + conv.eps))
    return torch.stack(rows)


def test_self_modulated_convolution_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    conv = SelfModulatedConv(3, 5)
    nn.init.normal_(conv.scales)
    nn.init.constant_(conv.gain, 1.7)
    x = torch.randn(2, 3, 4, 6)
    assert conv.conv.bias is not None
    expected = F.conv2d(x.double(), modulated(conv), conv.conv.bias.double(), padding=1)
    torch.testing.assert_close(conv(x).double(), expected, rtol=0, atol=1e-5)
    norms = conv.weight().square().sum(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(norms, torch.full((5,), 1.7), rtol=0, atol=1e-5)


def test_self_modulation_does_not_see_the_size_of_a_kernel() -> None:
    conv = SelfModulatedConv(3, 4).requires_grad_(False)
    x = torch.randn(1, 3, 4, 4)
    before = conv(x)
    conv.conv.weight.mul_(7.0)
    torch.testing.assert_close(conv(x), before, rtol=0, atol=1e-5)


def test_self_modulated_convolution_runs_in_half_precision_and_under_autocast() -> None:
    torch.manual_seed(0)
    conv = SelfModulatedConv(8, 8)
    x = torch.randn(1, 8, 6, 6)
    full = conv(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = conv(x)
    half = conv.to(torch.bfloat16)(x.bfloat16())
    for out in (mixed, half):
        assert out.dtype == torch.bfloat16
        assert (out.float() - full).abs().max() < 0.05 * (full.max() - full.min())


def test_attention_follows_every_block_of_a_level_that_has_it() -> None:
    level = Level(4, 8, 2, norm, Downsample(8), attention=True)
    assert [name for name, _ in level.named_children()] == ["0", "attention0", "1", "attention1", "resample"]
    kinds = [type(module) for module in level]
    assert kinds == [ResBlock, Attention, ResBlock, Attention, Downsample]
    x = torch.randn(1, 4, 4, 4)
    h = x
    for module in level:
        h = module(h)
    assert torch.equal(level(x), h)


@pytest.mark.parametrize("spatial", [True, False])
def test_only_a_spatial_decoder_reads_the_latent_twice(spatial: bool) -> None:
    """With the way through the first convolutions cut, only norms that are conditioned let the latent through."""
    torch.manual_seed(0)
    make = partial(SpatialNorm, groups=4, latent_channels=3) if spatial else norm
    decoder = Decoder(3, (8, 16), 1, make, inner_channels=5, attention_levels=(0,))
    nn.init.zeros_(decoder.conv_in.weight)
    one, two = torch.randn(2, 1, 3, 4, 4)
    assert decoder(one).shape == (1, 3, 8, 8)
    assert torch.equal(decoder(one), decoder(two)) is not spatial


def test_inner_channels_stand_between_the_network_and_the_codes() -> None:
    encoder = Encoder(4, (8, 16), 1, 4, inner_channels=6)
    assert (encoder.conv_out.out_channels, encoder.quant_conv.in_channels) == (6, 6)
    assert encoder(torch.randn(1, 3, 8, 8)).shape == (1, 4, 4, 4)
    decoder = Decoder(4, (8, 16), 1, norm, inner_channels=6)
    assert (decoder.post_quant_conv.out_channels, decoder.conv_in.in_channels) == (6, 6)


def test_what_is_left_out_changes_nothing() -> None:
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(Unchanged()(x, x + 1), x)
    bare = ResBlock(8, 8, lambda channels: Unchanged())
    expected = x + bare.conv2(F.silu(bare.conv1(F.silu(x))))
    assert torch.equal(bare(x), expected)
    assert isinstance(bare.conv1, Conv3x3)
