"""TAESD on its own; its equality with diffusers' AutoencoderTiny is in adapters/diffusers/test_tiny.py."""

from typing import Any

import pytest
import torch

from tokenizer.backbones.taesd import TAESDConfig
from tokenizer.config import TokenizerConfig
from tokenizer.slice import difference, sliced

SMALL: dict[str, Any] = {
    "kind": "taesd",
    "encoder_width": 8,
    "decoder_width": 12,
    "encoder_blocks": (1, 2, 1),
    "decoder_blocks": (2, 1, 1),
}


def test_published_size() -> None:
    """Encoder and decoder have 1.22M parameters each, as TAESD's README says."""
    config = TAESDConfig()
    with torch.device("meta"):
        parts = config.build_encoder(4), config.build_decoder()
    for part in parts:
        assert sum(parameter.numel() for parameter in part.parameters()) == pytest.approx(1.22e6, rel=0.005)
    assert config.spatial_factor == 8


@pytest.mark.parametrize("size", [(13, 18), (1, 5), (32, 24)])
def test_sizes_that_do_not_divide_are_padded_and_cropped(size: tuple[int, int]) -> None:
    model = TokenizerConfig.parse({"backbone": SMALL}).build().eval()
    model.spec = model.spec.from_convention(1.0)
    assert model.spec.z.spatial_factor == 4
    x = torch.rand(1, 3, *size) * 2 - 1
    with torch.no_grad():
        latent = model.encode(x)
        assert latent.z.shape[1:] == (4, -(-size[0] // 4), -(-size[1] // 4))
        assert model.decode(latent).shape == x.shape


def test_latents_are_squeezed_before_they_are_read() -> None:
    decoder = TAESDConfig.parse(SMALL).build_decoder().eval()
    seen: list[torch.Tensor] = []
    decoder.layers[0].register_forward_hook(lambda _, args, __: seen.append(args[0]))
    z = torch.tensor([0.0, 1e-3, -1e-3, 100.0]).view(1, 4, 1, 1)
    decoder(z)
    torch.testing.assert_close(seen[0].flatten(), torch.tensor([0.0, 1e-3, -1e-3, 3.0]))


def test_pixels_are_from_0_to_1_inside() -> None:
    config = TAESDConfig.parse(SMALL)
    encoder, decoder = config.build_encoder(4), config.build_decoder()
    seen: list[torch.Tensor] = []
    encoder.layers[0].register_forward_hook(lambda _, args, __: seen.append(args[0]))
    decoder.layers[-1].register_forward_hook(lambda _, __, out: seen.append(out))
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    encoder(x)
    x_hat = decoder(torch.randn(1, 4, 2, 2))
    torch.testing.assert_close(seen[0], (x + 1) / 2)
    torch.testing.assert_close(x_hat, seen[1] * 2 - 1)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL}).build()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    (model(x).x_hat - x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_blocks": (1, 1)}, "as many in both"),
        ({"encoder_blocks": (-1, 1, 1)}, "fewer than 0 blocks"),
        ({"latent_channels": 0}, "latent_channels"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TAESDConfig.parse(SMALL | changes)


def test_the_latent_can_lose_channels() -> None:
    config = TokenizerConfig.parse({"backbone": SMALL})
    torch.manual_seed(0)
    whole = config.build().eval()
    cut = sliced(whole, config, 2)
    assert cut.spec.z.channels == 2
    assert difference(whole, cut, torch.rand(1, 3, 16, 24) * 2 - 1) <= 1e-5
