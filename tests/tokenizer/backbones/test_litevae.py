"""LiteVAE: sizes as published, levels that see what they should, sharing, and a decoder without group norms."""

from typing import Any

import pytest
import torch
from torch import nn

from tokenizer.backbones.litevae import LiteVAEConfig, UNet
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Attention, SelfModulatedConv
from tokenizer.slice import difference, sliced

# Table 2: millions of parameters of the encoder at n_z = 12. Tables 23 and 24: widths.
PUBLISHED = {
    "S": (1.03, (16, 32, 32), (16, 32, 32)),
    "B": (6.75, (32, 64, 96), (32, 64, 96)),
    "M": (32.75, (64, 128, 256), (32, 64, 96)),
    "L": (41.42, (64, 128, 256), (64, 128, 256)),
}
SMALL: dict[str, Any] = {
    "kind": "litevae",
    "latent_channels": 4,
    "levels": 2,
    "extractor_widths": (8, 16),
    "aggregator_widths": (8, 12),
    "blocks_per_width": 1,
    "decoder_widths": (8, 8, 16),
    "decoder_blocks": 1,
    "norm_groups": 4,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def build(**changes: Any) -> Any:
    tree = {"backbone": SMALL | changes, "bottleneck": {"kind": "kl"}}
    torch.manual_seed(0)
    model = TokenizerConfig.parse(tree).build().eval()
    model.spec = model.spec.from_convention(1.0)
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    millions, extractor, aggregator = PUBLISHED[name]
    config = LiteVAEConfig(extractor_widths=extractor, aggregator_widths=aggregator)
    with torch.device("meta"):
        encoder, decoder = config.build_encoder(2 * config.latent_channels), config.build_decoder()
    assert count(encoder) == pytest.approx(millions * 1e6, rel=0.02)
    assert count(decoder) == pytest.approx(49.5e6, rel=0.02)  # latent diffusion's
    assert config.spatial_factor == 8


def test_the_aggregator_of_b_is_the_size_of_the_ablation() -> None:
    """Table 20: the U-Net that aggregates has 1.69M parameters."""
    with torch.device("meta"):
        assert count(UNet(36, 24, (32, 64, 96), 2)) == pytest.approx(1.69e6, rel=0.02)


@pytest.mark.parametrize("self_modulated", [True, False])
@pytest.mark.parametrize("size", [(13, 18), (1, 5), (32, 24)])
def test_any_size(size: tuple[int, int], self_modulated: bool) -> None:
    model = build(self_modulated=self_modulated)
    x = torch.rand(1, 3, *size) * 2 - 1
    with torch.no_grad():
        latent = model.encode(x)
        assert latent.z.shape[1:] == (4, -(-size[0] // 4), -(-size[1] // 4))
        assert model.decode(latent).shape == x.shape


def test_every_level_sees_its_own_bands() -> None:
    """A constant picture has no detail: level after level the low band is the constant and the others are 0."""
    encoder = build().encoder
    seen: list[torch.Tensor] = []
    for extractor in encoder.extractors:
        extractor.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    colour = torch.tensor([0.5, -1.0, 0.25])
    encoder(colour.view(1, 3, 1, 1).expand(1, 3, 8, 12).contiguous())
    assert [tuple(bands.shape) for bands in seen] == [(1, 12, 4, 6), (1, 12, 2, 3)]
    for bands in seen:
        torch.testing.assert_close(bands[:, :3].mean(dim=(0, 2, 3)), colour)
        assert float(bands[:, 3:].abs().max()) < 1e-6


def test_detail_of_one_scale_is_seen_at_its_level_alone() -> None:
    """A checkerboard of single pixels is diagonal detail at the first level and gone at the second."""
    encoder = build().encoder
    seen: list[torch.Tensor] = []
    for extractor in encoder.extractors:
        extractor.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4).expand(1, 3, 8, 8)
    encoder(board)
    torch.testing.assert_close(seen[0][:, 9:], torch.ones(1, 3, 4, 4))
    assert float(seen[0][:, :9].abs().max()) == 0.0
    assert float(seen[1].abs().max()) == 0.0


def test_a_shared_extractor_is_one_network_for_all_levels() -> None:
    apart, shared = build(), build(share_extractor=True)
    assert len(apart.encoder.extractors) == 2
    assert len(shared.encoder.extractors) == 1
    assert count(apart.encoder) - count(shared.encoder) == count(shared.encoder.extractors[0])
    x = torch.rand(1, 3, 8, 8)
    twice = build()
    twice.load_state_dict(
        {
            **shared.state_dict(),
            **{
                f"encoder.extractors.1.{name}": value
                for name, value in shared.encoder.extractors[0].state_dict().items()
            },
        }
    )
    assert torch.equal(twice.encoder(x), shared.encoder(x))


def test_a_self_modulated_decoder_has_no_group_norm() -> None:
    decoder = build(self_modulated=True).decoder
    assert not any(isinstance(module, nn.GroupNorm | Attention) for module in decoder.modules())
    blocks = [module for module in decoder.modules() if isinstance(module, SelfModulatedConv)]
    assert len(blocks) == 2 * (
        2 + 3 * 2
    )  # two a block: two blocks in the middle, two at each of three levels
    assert any(isinstance(module, nn.GroupNorm) for module in build().decoder.modules())


@pytest.mark.parametrize("self_modulated", [True, False])
def test_every_parameter_gets_a_gradient(self_modulated: bool) -> None:
    model = build(self_modulated=self_modulated, share_extractor=True).train()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    step = model(x, sample=True, noise=torch.randn(2, 4, 4, 4))
    ((step.x_hat - x).square().mean() + step.bottleneck.loss).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 3}, "decoder_widths needs 4 entries for 3 levels"),
        ({"decoder_widths": (8, 8, 10)}, "width 10 must be a multiple of norm_groups, 4"),
        ({"extractor_widths": (0,)}, "must be positive"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LiteVAEConfig.parse(SMALL | changes)


def test_the_latent_can_lose_channels() -> None:
    config = TokenizerConfig.parse({"backbone": SMALL, "bottleneck": {"kind": "kl"}})
    torch.manual_seed(0)
    whole = config.build().eval()
    cut = sliced(whole, config, 2)
    assert cut.spec.z.channels == 2
    assert difference(whole, cut, torch.rand(1, 3, 16, 24) * 2 - 1) <= 1e-5
