"""A U-Net as decoder: conditions, options of decoding, tiles in one noise, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.backbones.epsilon_vae import EpsilonVAEConfig
from tokenizer.backbones.kl import KLBackboneConfig
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec
from tokenizer.tiling import TilePlan

SMALL: dict[str, Any] = {
    "kind": "epsilon_vae",
    "latent_channels": 4,
    "widths": [8, 8, 16],
    "blocks_per_level": 1,
    "unet_widths": [8, 8],
    "unet_blocks": 1,
    "norm_groups": 4,
    "steps": 3,
}


def build(**changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL | changes}).build().eval().requires_grad_(False)
    model.spec = model.spec.with_statistics({"z": ([0.5] * 4, [2.0] * 4)})
    for parameter in model.decoder.parameters():  # what starts at 0 is heard
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def picture(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(16, 16), (13, 27)])
def test_the_same_seed_gives_the_same_picture_and_another_another(size: tuple[int, int]) -> None:
    model = build()
    latent = model.encode(picture(*size))
    x_hat = model.decode(latent)
    assert x_hat.shape == (2, 3, *size)
    assert torch.equal(model.decode(latent), x_hat)
    seeded = model.decode(latent, generator=generator(7))
    assert torch.equal(model.decode(latent, generator=generator(7)), seeded)
    assert not torch.allclose(model.decode(latent, generator=generator(8)), seeded, atol=1e-3)
    alone = model.encode(picture(*size)[1:])
    torch.testing.assert_close(model.decode(alone, generator=generator(7)), seeded[1:], atol=1e-4, rtol=0)


def test_steps_are_those_of_the_call_or_of_the_spec() -> None:
    model = build()
    assert model.spec.num_steps == 3
    assert LatentSpec.parse(model.spec.model_dump(mode="json")) == model.spec
    latent = model.encode(picture(16, 16))
    assert torch.equal(model.decode(latent, num_steps=3), model.decode(latent))
    assert not torch.allclose(model.decode(latent, num_steps=8), model.decode(latent), atol=1e-4)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        model.decode(latent, num_steps=0)


def test_a_decoder_that_computes_takes_no_steps_and_no_noise() -> None:
    model = build(deterministic=True)
    assert model.spec.num_steps is None
    assert "num_steps" not in model.spec.model_dump(mode="json")
    latent = model.encode(picture(16, 16))
    assert torch.equal(model.decode(latent, generator=generator(1)), model.decode(latent))
    with pytest.raises(ValueError, match="has no num_steps"):
        model.decode(latent, num_steps=3)


def test_both_have_the_same_parameters() -> None:
    drawn, plain = (build(deterministic=choice) for choice in (False, True))
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (drawn, plain)]
    assert shapes[0] == shapes[1]


def test_tiles_meet_in_one_noise() -> None:
    """Without attention a tile's inside sees what the whole sees, so that both draw the same there."""
    model = build(attention=False)
    latent = model.encode(picture(64, 48))
    whole, tiled = model.decode(latent), model.decode(latent, tiles=TilePlan(tile=96, overlap=16))
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)  # one tile that holds everything
    parts = model.decode(latent, tiles=TilePlan(tile=40, overlap=16))
    assert parts.shape == whole.shape
    correlation = torch.corrcoef(torch.stack([parts.flatten(), whole.flatten()]))[0, 1]
    other = model.decode(latent, generator=generator(9))
    unrelated = torch.corrcoef(torch.stack([other.flatten(), whole.flatten()]))[0, 1]
    assert correlation > 0.95
    assert unrelated < 0.5


def test_every_latent_value_reaches_its_own_pixels() -> None:
    model = build(attention=False)
    z = torch.randn(1, 4, 4, 4, generator=generator(0))
    condition = model.decoder.condition(z, (16, 16))
    assert torch.equal(condition[:, :, 4:8, 8:12], z[:, :, 1:2, 2:3].expand(-1, -1, 4, 4))


def test_a_latent_does_not_change_its_identity_for_others() -> None:
    """Specs without steps are written as they always were."""
    assert "num_steps" not in LatentSpec.image(4, 8).to_json()


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of norm_groups, 32"):
        EpsilonVAEConfig.parse({"widths": [48]})
    with pytest.raises(ValueError, match="at most the 2 resolutions"):
        EpsilonVAEConfig.parse({"widths": [32, 32], "unet_widths": [32, 32, 32]})


def test_the_networks_have_the_layouts_that_they_name() -> None:
    """The encoder is that of latent diffusion; the U-Net has the parameters of its blocks, counted by hand."""
    config = EpsilonVAEConfig()
    with torch.device("meta"):
        encoder, decoder = config.build_encoder(16), config.build_decoder()
        theirs = KLBackboneConfig(widths=config.widths).build_encoder(16)
    assert [value.shape for value in encoder.parameters()] == [value.shape for value in theirs.parameters()]
    assert sum(value.numel() for value in decoder.parameters()) == by_hand(config.unet_widths, 11, 2)


def by_hand(widths: tuple[int, ...], channels: int, depth: int) -> int:
    """Parameters of a U-Net with attention in the middle: kernels, biases, norms and modulations, level by level."""
    time = 4 * widths[0]

    def conv(before: int, after: int, side: int = 3) -> int:
        return side * side * before * after + after

    def block(before: int, after: int) -> int:
        shortcut = conv(before, after, 1) if before != after else 0
        norms = 2 * before + 2 * after
        return conv(before, after) + conv(after, after) + norms + 2 * after * (time + 1) + shortcut

    total = 256 * time + time + time * time + time + conv(channels, widths[0])
    skips, width = [widths[0]], widths[0]
    for level, out in enumerate(widths):
        for _ in range(depth):
            total, width = total + block(width, out), out
            skips.append(width)
        if level + 1 < len(widths):
            total += conv(width, width)
            skips.append(width)
    total += 2 * block(width, width) + 2 * width + conv(width, 3 * width, 1) + conv(width, width, 1)
    for level, out in reversed(list(enumerate(widths))):
        for _ in range(depth + 1):
            total, width = total + block(width + skips.pop(), out), out
        total += conv(width, width) if level else 0
    return total + 2 * width + conv(width, 3)
