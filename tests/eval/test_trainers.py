"""Both sides start from one network and one batch, and do what they say: nobody's speed is a missing update."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eval.trainers import DiffusersTrainer, OurTrainer, Setting, model_of, pictures, start, write_trunk
from tokenizer.data.transforms import to_pixels

MODEL: dict[str, Any] = {
    "backbone": {
        "kind": "kl",
        "latent_channels": 4,
        "widths": [8, 8],
        "blocks_per_level": 1,
        "norm_groups": 4,
    },
    "bottleneck": {"kind": "kl"},
}


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(
        model=MODEL,
        resolution=32,
        batch=2,
        precision="fp32",
        compile=False,
        channels_last=False,
        lpips=False,
        seed=3,
        folder=tmp_path,
    )


def copies(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def moved(before: Iterable[Tensor], module: nn.Module) -> bool:
    return any(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def test_one_network_one_batch_one_error(setting: Setting) -> None:
    ours, theirs = OurTrainer(setting), DiffusersTrainer(setting)
    x = to_pixels(pictures(setting))
    assert torch.equal(theirs.pixels, x)
    with torch.no_grad():
        a = ours.run.model(x).x_hat
        b = theirs.vae.decode(theirs.vae.encode(x).latent_dist.mode()).sample
    assert float((a - b).abs().max()) <= 1e-5 * float(b.max() - b.min())
    first, second = ours.update(adversary=False), theirs.update(adversary=False)
    assert first["loss/l2"] == pytest.approx(second["reconstruction"], rel=1e-2)  # they draw other noise
    values = setting.batch * x[0].numel()
    assert first["loss/total"] == pytest.approx(second["total"] * setting.batch / values, rel=1e-2)
    assert first["loss/bottleneck"] * setting.batch * 4 * 16 * 16 == pytest.approx(2 * second["kl"], rel=1e-3)


def test_our_update_moves_whom_it_says(setting: Setting) -> None:
    trainer = OurTrainer(setting)
    discriminator = trainer.parts.adversary.discriminator if trainer.parts.adversary else nn.Identity()
    before, judge = copies(trainer.run.model.parameters()), copies(discriminator.parameters())
    assert trainer.update(adversary=False)["pictures"] == 2
    assert moved(before, trainer.run.model)
    assert not moved(judge, discriminator)
    before = copies(trainer.run.model.parameters())
    log = trainer.update(adversary=True)
    assert {"adversary/fooling", "adversary/discriminator", "adversary/adversary_weight"} <= log.keys()
    assert moved(before, trainer.run.model)
    assert moved(judge, discriminator)


def test_their_script_as_it_is(setting: Setting) -> None:
    """The autoencoder's turn moves it and leaves gradients in the discriminator; the other turn moves nothing."""
    trainer = DiffusersTrainer(setting)
    before, judge = copies(trainer.vae.parameters()), copies(trainer.discriminator.parameters())
    log = trainer.autoencoder_turn(1.0)
    assert moved(before, trainer.vae)
    assert not moved(judge, trainer.discriminator)
    assert all(parameter.grad is not None for parameter in trainer.discriminator.parameters())
    assert log["adversary_weight"] > 0
    before = copies(trainer.vae.parameters())
    assert trainer.discriminator_turn().keys() == {"discriminator", "real", "fake"}
    assert not moved(before, trainer.vae)
    assert not moved(judge, trainer.discriminator)
    assert trainer.update(adversary=True)["pictures"] == 4
    assert trainer.update(adversary=False)["pictures"] == 2


def test_their_half_precision_is_in_the_weights(setting: Setting) -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # one precision a process: this test asks for the other one
    try:
        trainer = DiffusersTrainer(replace(setting, precision="bf16"))
        assert {parameter.dtype for parameter in trainer.vae.parameters()} == {torch.bfloat16}
        log = trainer.update(adversary=True)
        assert all(value == value for value in log.values())
    finally:
        AcceleratorState._reset_state()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained':UserWarning")  # the lpips package's own call
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
def test_perceptual_loss_on_both_sides(setting: Setting) -> None:
    """The same distance of nearly the same reconstructions; a gradient flows through ours only."""
    write_trunk(setting.folder, setting.seed)
    setting = replace(setting, lpips=True)
    first = OurTrainer(setting).update(adversary=False)
    second = DiffusersTrainer(setting).update(adversary=False)
    assert first["loss/lpips"] > 0.01
    assert first["loss/lpips"] == pytest.approx(second["lpips"], rel=2e-2)


def test_weights_and_pictures_follow_the_seed(setting: Setting) -> None:
    other = replace(setting, seed=4)
    a, b, c = (next(start(item).parameters()) for item in (setting, setting, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(pictures(setting), pictures(setting))
    assert not torch.equal(pictures(setting), pictures(other))


def test_only_what_the_script_trains(tmp_path: Path) -> None:
    assert model_of("kl_f8c4")["backbone"]["latent_channels"] == 4
    with pytest.raises(ValueError, match="trains KL autoencoders, this is dcae"):
        model_of("tiny")
    with pytest.raises(ValueError, match="no preset 'nothing'"):
        model_of("nothing")
