"""MaskBit's modernised VQGAN: its layout piece by piece, any size, every parameter in use."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tokenizer.backbones.vqgan_plus import ResBlock, VQGANPlusConfig
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Attention
from tokenizer.slice import difference, sliced

SMALL: dict[str, Any] = {
    "kind": "vqgan_plus",
    "latent_channels": 6,
    "widths": (8, 8, 16),
    "blocks_per_level": 1,
    "norm_groups": 4,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stage(before: int, width: int) -> int:
    """Parameters of a stage of two blocks, counted by hand from the released layout."""
    first = 2 * before + 9 * before * width + 2 * width + 9 * width * width
    first += width * width if before != width else 0
    return first + 2 * (2 * width + 9 * width * width)


def resample(width: int) -> int:
    return 9 * width * width + width


def test_published_size() -> None:
    """The released 12-bit tokenizer, summed by hand: base width 128, multipliers 1 1 2 2 4, two blocks a stage."""
    config = VQGANPlusConfig()
    assert (config.latent_channels, config.spatial_factor) == (12, 16)
    down = [stage(128, 128), stage(128, 128), stage(128, 256), stage(256, 256), stage(256, 512)]
    up = [stage(512, 512), stage(512, 256), stage(256, 256), stage(256, 128), stage(128, 128)]
    samplers = [resample(width) for width in (128, 128, 256, 256)]
    middle = stage(512, 512)
    with torch.device("meta"):
        encoder, decoder = config.build_encoder(12), config.build_decoder()
    ends = 9 * 3 * 128 + 2 * 512 + 512 * 12 + 12
    assert count(encoder) == sum(down) + sum(samplers) + middle + ends
    samplers = [resample(width) for width in (512, 256, 256, 128)]
    ends = 9 * 12 * 512 + 512 + 2 * 128 + 9 * 128 * 3 + 3
    assert count(decoder) == sum(up) + sum(samplers) + middle + ends
    assert not any(isinstance(module, Attention) for part in (encoder, decoder) for module in part.modules())


@pytest.mark.parametrize("size", [(13, 18), (1, 5), (32, 24)])
def test_sizes_that_do_not_divide_are_padded_and_cropped(size: tuple[int, int]) -> None:
    model = TokenizerConfig.parse({"backbone": SMALL}).build().eval()
    model.spec = model.spec.from_convention(1.0)
    x = torch.rand(1, 3, *size) * 2 - 1
    with torch.no_grad():
        latent = model.encode(x)
        assert latent.z.shape[1:] == (6, -(-size[0] // 4), -(-size[1] // 4))
        assert model.decode(latent).shape == x.shape


def test_a_block_adds_its_input_or_where_the_width_changes_a_mix_of_its_output() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 4, 4)
    same, wider = ResBlock(8, 8, 4), ResBlock(8, 12, 4)
    for block in (same, wider):
        h = block.conv2(F.silu(block.norm2(block.conv1(F.silu(block.norm1(x))))))
        added = x if block.mix is None else block.mix(h)
        assert torch.equal(block(x), h + added)
    assert same.mix is None
    assert wider.mix is not None
    assert all(block.conv1.bias is None and block.conv2.bias is None for block in (same, wider))


def test_both_sides_have_the_same_number_of_blocks() -> None:
    config = VQGANPlusConfig.parse(SMALL | {"blocks_per_level": 3})
    for part in (config.build_encoder(6), config.build_decoder()):
        assert [sum(isinstance(module, ResBlock) for module in level) for level in part.stages] == [3, 3, 3]
        assert len(part.mid) == 3


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL}).build()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    (model(x).x_hat - x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_a_width_that_the_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 12 must be a multiple of norm_groups, 8"):
        VQGANPlusConfig.parse({"widths": (8, 12), "norm_groups": 8})


def test_the_latent_can_lose_channels() -> None:
    config = TokenizerConfig.parse({"backbone": SMALL})
    torch.manual_seed(0)
    whole = config.build().eval()
    cut = sliced(whole, config, 2)
    assert cut.spec.z.channels == 2
    assert difference(whole, cut, torch.rand(1, 3, 16, 24) * 2 - 1) <= 1e-5
