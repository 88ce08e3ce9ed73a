"""What a downstream job is, and what is refused before anything trains."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eval.downstream.settings import DownstreamConfig

Make = Callable[..., DownstreamConfig]


def test_a_label_alone_lies_in_the_comparison(config: Make) -> None:
    found = config(members=["tiny_vq"], comparison="compared")
    assert found.source_of(found.members[0]) == str(Path("compared/members/tiny_vq/run"))
    lost = config(members=["tiny_vq"])
    with pytest.raises(ValueError, match="member tiny_vq: give source=, or comparison=DIR"):
        lost.source_of(lost.members[0])


def test_every_generator_has_the_budget_of_the_job(config: Make) -> None:
    found = config(images=3200, batch=32).training(Path("latents"), Path("run"))
    assert (found.images, found.batch, found.seed) == (3200, 32, 0)
    assert (found.model.depth, found.model.width) == (1, 16)
    assert found.optim.warmup_images == 320  # half of dit_tiny's, whose run is twice as long
    assert found.ema_half_life == 500
    assert found.latents == Path("latents")


def test_what_cannot_work_is_refused(config: Make) -> None:
    with pytest.raises(ValueError, match="labels of their own; more than one is a"):
        config(members=["a", "a"])
    with pytest.raises(ValueError, match="only: no member 'b'; there are a"):
        config(members=["a"], only=["b"])
    with pytest.raises(ValueError, match="dit_tiny"):
        config(generator="no_such_preset").training(Path(), Path())


def test_held_out_pictures_may_lie_beside_the_others(config: Make) -> None:
    data = config(data={"path": "photographs"}).data
    assert (data.training, data.held_out) == (Path("photographs/train"), Path("photographs/validation"))
