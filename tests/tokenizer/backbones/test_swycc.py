"""Two decoders in one: the first picture has the losses of pixels, the second is drawn on it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.backbones.swycc import Decoder, SWYCCConfig
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder

SMALL: dict[str, Any] = {
    "kind": "swycc",
    "latent_channels": 4,
    "widths": [8, 8, 16],
    "blocks_per_level": 1,
    "unet_widths": [8, 8],
    "unet_blocks": 1,
    "norm_groups": 4,
    "steps": 2,
}
KEYS = torch.tensor([1, 2])


def build(**changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL | changes}).build()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    return model


def picture(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_losses_of_pixels_see_the_first_picture_and_the_flow_trains_both() -> None:
    model, x = build(), picture(16, 16)
    assert isinstance(model.decoder, Decoder)
    with torch.no_grad():  # the last layer starts at 0, and lets nothing back until it has moved
        model.decoder.network.conv_out.weight.normal_(std=0.1)
    z = model.bottleneck(model.encoder(x)).z
    drawn = model.learn_pixels(z, x, KEYS)
    assert torch.equal(drawn.x_hat, model.decoder.first(z))
    error = drawn.extras["velocity"] - drawn.extras["velocity_target"]
    error.square().mean().backward()
    for network in (model.encoder, model.decoder.first, model.decoder.network):
        assert any(value.grad is not None and bool(value.grad.any()) for value in network.parameters())


@torch.no_grad()
def test_a_fresh_one_draws_noise_and_any_size_comes_back() -> None:
    """A fresh U-Net's velocity is 0, so that what comes out is the noise itself: nothing else was added."""
    model = build().eval()
    latent = model.encode(picture(13, 18))
    x_hat = model.decode(latent, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(1, 3, 16, 20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(x_hat, noise[:, :, :13, :18].expand(2, -1, -1, -1))


@torch.no_grad()
def test_the_ordinary_decoder_of_the_same_parameters_is_judged_by_what_it_decodes() -> None:
    model, x = build(deterministic=True).eval(), picture(16, 16)
    assert model.spec.num_steps is None
    model.decoder.network.conv_out.weight.normal_(std=0.1)
    z = model.bottleneck(model.encoder(x)).z
    assert torch.equal(model.learn_pixels(z, x, KEYS).x_hat, model.to_pixels(z, (16, 16)))


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of norm_groups, 32"):
        SWYCCConfig.parse({"widths": [48]})
    with pytest.raises(ValueError, match="at most the 1 resolutions"):
        SWYCCConfig.parse({"widths": [32], "unet_widths": [32, 32]})
