"""Flicker on synthetic clips: closed forms."""

import pytest
import torch

from eval.protocols.video import FlickerSettings, video_protocol
from eval.video.flicker import Flicker
from tests.eval.video.clipping import frames

PROTOCOL = video_protocol("streaming")


def flicker(real: torch.Tensor, fake: torch.Tensor, pieces: int = 100) -> float:
    metric = Flicker(PROTOCOL)
    for a, b in zip(real.split(pieces), fake.split(pieces), strict=True):
        metric.update(a, b, 0)
    return metric.compute().value


def test_an_error_that_stands_still_does_not_flicker() -> None:
    real = frames(7)
    assert flicker(real, real) == 0.0
    assert flicker(real, real + 20) == 0.0
    pattern = torch.randint(0, 30, (1, 3, 16, 16), dtype=torch.uint8)
    assert flicker(real, real + pattern) == 0.0


def test_too_bright_and_too_dark_in_turn_is_twice_the_amplitude() -> None:
    real = frames(8)
    signs = torch.tensor([1.0, -1.0] * 4).view(-1, 1, 1, 1)
    fake = (real.float() + 6 * signs).to(torch.uint8)
    assert flicker(real, fake) == pytest.approx(12.0)


def test_a_frozen_reconstruction_flickers_as_much_as_the_original_moves() -> None:
    real = frames(5)
    metric = Flicker(PROTOCOL)
    metric.update(real, real[:1].expand_as(real), 0)
    score = metric.compute()
    motion = (real[1:].float() - real[:-1].float()).abs().mean()
    assert score.value == pytest.approx(float(motion))
    assert score.details["relative"] == pytest.approx(1.0)


def test_pieces_do_not_matter_and_clips_do() -> None:
    real, fake = frames(9), frames(9, seed=1)
    assert flicker(real, fake, 1) == flicker(real, fake, 4) == flicker(real, fake)
    apart = Flicker(PROTOCOL)
    apart.update(real[:4], fake[:4], 0)
    apart.update(real[4:], fake[4:], 1)
    score = apart.compute()
    assert score.per_clip == pytest.approx([flicker(real[:4], fake[:4]), flicker(real[4:], fake[4:])])
    assert len(score.per_frame[0]) == 4


def test_floats_give_the_same_levels() -> None:
    real, fake = frames(4), frames(4, seed=1)
    metric = Flicker(PROTOCOL.model_copy(update={"flicker": FlickerSettings(domain="clamped")}))
    metric.update(real.float() / 127.5 - 1, fake.float() / 127.5 - 1, 0)
    assert metric.compute().value == pytest.approx(flicker(real, fake), rel=1e-5)


def test_one_frame_has_none() -> None:
    metric = Flicker(PROTOCOL)
    metric.update(frames(1), frames(1), 0)
    with pytest.raises(ValueError, match="at least 2 frames"):
        metric.compute()
