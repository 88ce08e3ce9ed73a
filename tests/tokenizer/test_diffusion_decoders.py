"""The families whose decoders draw, as users meet them: trained a little, saved, loaded, decoded in more steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tokenizer
from tokenizer.adapters.diffusers import to_diffusers
from tokenizer.config import TokenizerConfig
from tokenizer.core.config import find_preset
from tokenizer.layers.sampling import SamplingDecoder, noise_field
from tokenizer.loading import load
from tokenizer.losses.flow import FlowLoss
from tokenizer.model import Autoencoder
from tokenizer.regularizers import build_regularizers
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.token_dropping import TokenDroppingConfig
from tokenizer.train import train
from tokenizer.training import TrainConfig

CONFIGS = Path(tokenizer.__file__).parent / "configs"
PRESETS = ["tiny_epsilon_vae", "tiny_swycc", "tiny_semanticist"]


def shortened(name: str, pictures: Path, out: Path, *changes: str) -> TrainConfig:
    """The preset, with 3 steps of 4 pictures of 32 pixels a side instead of its own."""
    few = [f"phases.0.{item}" for item in ("images=12", "batch=4", "resolution=32")]
    often = ["log_every=0", "show_every=0", "save_every=4", "statistics_images=8", "ema_half_life=4"]
    optim = ["optim.warmup_images=0", "optim.schedule=constant", "precision=fp32"]
    data = [f"data.path={pictures}", "data.num_workers=0", f"out={out}"]
    return TrainConfig.load(find_preset(name, CONFIGS), [*data, *few, *often, *optim, *changes])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_is_saved_and_decodes_in_any_number_of_steps(
    name: str, photographs: Path, tmp_path: Path
) -> None:
    model = load(train(shortened(name, photographs, tmp_path)))
    x = torch.rand(2, 3, 29, 23, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = model.encode(x)
    assert model.spec.num_steps == 4
    made = [model.decode(latent, num_steps=steps) for steps in (1, 2, 4, 8)]
    for x_hat in made:
        assert x_hat.shape == x.shape
        assert torch.isfinite(x_hat).all()
    assert torch.equal(load(tmp_path).decode(latent), made[2])
    with pytest.raises(ValueError, match="diffusers has no class"):
        to_diffusers(model)


def test_a_run_that_was_interrupted_goes_on_bit_for_bit(photographs: Path, tmp_path: Path) -> None:
    """Times and noise are functions of the samples' keys."""
    whole = train(shortened("tiny_semanticist", photographs, tmp_path / "whole"))
    parts = shortened("tiny_semanticist", photographs, tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer.train, "finish", _interrupted)
        with pytest.raises(InterruptedError):
            train(parts)
    resumed = load(train(parts)).state_dict()
    for key, value in load(whole).state_dict().items():
        assert torch.equal(value, resumed[key]), key


def _interrupted(*_: object) -> None:
    raise InterruptedError


STRIPES: dict[str, Any] = {
    "kind": "epsilon_vae", "latent_channels": 2, "widths": [8, 8, 8], "blocks_per_level": 1, "unet_widths": [12, 12],
    "unet_blocks": 1, "norm_groups": 4, "attention": False,
}  # fmt: skip


def stripes(count: int, seed: int) -> Tensor:
    """Greys and checks of random signs, 2 x 2 pixels each, (count, 3, 16, 16): more than 2 x 4 x 4 values hold."""
    draws = torch.Generator().manual_seed(seed)
    grey = 0.4 * (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1)
    signs = torch.randint(0, 2, (count, 1, 8, 8), generator=draws) * 2.0 - 1.0
    texture = 0.4 * signs.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return (grey + texture).expand(-1, 3, -1, -1).contiguous()


@pytest.fixture(scope="module")
def trained() -> Autoencoder:
    """A tokenizer that has learned from textures which its latent cannot hold."""
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": STRIPES}).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    regularized, loss = Regularized(model, {}), FlowLoss()
    for index in range(120):
        x = stripes(12, index)
        step = regularized(x, Draw(torch.arange(12) + 12 * index, index, 4))
        optimizer.zero_grad()
        loss(step, x).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def texture(x: Tensor) -> float:
    """Variance within a picture."""
    return float(x.var(dim=(2, 3)).mean())


def test_more_steps_bring_back_what_one_averages_away(trained: Autoencoder) -> None:
    x = stripes(64, 1000)
    z = trained.bottleneck(trained.encoder(x)).z
    assert isinstance(trained.decoder, SamplingDecoder)
    noise = noise_field((16, 16))
    drawn = [trained.decoder.sample(z, noise, steps) for steps in (1, 2, 8)]
    gaps = [abs(texture(x_hat) - texture(x)) for x_hat in drawn]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.6 * gaps[0]


def test_the_drawn_pixels_depend_on_keys_not_on_the_batch(trained: Autoencoder) -> None:
    x, keys = stripes(4, 5), torch.tensor([4, 5, 6, 7])
    regularized = Regularized(trained, {})
    whole = regularized(x, Draw(keys, 0, 4)).extras
    part = regularized(x[2:], Draw(keys[2:], 0, 4)).extras
    assert torch.equal(part["velocity_target"], whole["velocity_target"][2:])
    torch.testing.assert_close(part["velocity"], whole["velocity"][2:], atol=1e-5, rtol=0)


def test_dropped_tokens_become_null_tokens_in_training() -> None:
    body = {"width": 16, "depth": 1, "heads": 2}
    backbone = {
        "kind": "semanticist", "latent_channels": 4, "tokens": 6, "encoder_patch": 8, "decoder_patch": 8,
        "learned_side": 2, "encoder": body, "decoder": body,
    }  # fmt: skip
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": backbone}).build()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = TokenDroppingConfig(counts=(2,))
    regularized = Regularized(model, build_regularizers([config], model.spec.z))
    step = regularized(torch.rand(2, 3, 16, 16), Draw(torch.tensor([1, 2]), 0, 8))
    assert step.z.shape == (2, 4, 2)
    FlowLoss()(step, step.target).backward()
    null = model.decoder.get_parameter("null").grad
    assert null is not None
    assert not null[:2].any()
    assert null[2:].any(dim=1).all()
