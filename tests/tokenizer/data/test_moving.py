"""The camera's path is smooth, stays in the picture, moves as fast as it may and no faster, and comes from its key."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tokenizer.data.images import Images
from tokenizer.data.moving import MotionConfig, MovingOrder, MovingPictures, _camera, moving_clip

FAST = MotionConfig(pan=0.05, zoom=0.03, turn=3.0)
STILL = MotionConfig(pan=0, zoom=0, turn=0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int = 90, width: int = 120) -> Image.Image:
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return Image.fromarray(np.stack([40 + columns, 40 + rows, columns * 0 + 128], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("size", [(32, 32), (24, 48), (48, 24)])
@pytest.mark.parametrize("frames", [1, 2, 17])
def test_the_window_never_leaves_the_picture(size: tuple[int, int], frames: int) -> None:
    corners = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]) * size
    for seed in range(40):
        image = picture() if seed % 2 else picture(200, 60)
        camera, scaled = _camera(image, size, frames, seeded(seed), FAST)
        assert camera.cover == (scaled.height, scaled.width)
        for frame in range(frames):
            turn, scale = camera.angles[frame], camera.scales[frame]
            matrix = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            seen = camera.centres[frame] + corners @ matrix.T
            assert seen.min() >= -1e-6
            assert (seen <= np.array(camera.cover) + 1e-6).all()


def test_speeds_are_those_that_were_asked_for() -> None:
    sizes, frames = (32, 32), 9
    fastest = 0.0
    for seed in range(60):
        camera, _ = _camera(picture(), sizes, frames, seeded(seed), FAST)
        steps = np.linalg.norm(np.diff(camera.centres, axis=0), axis=1)
        assert steps.max() <= 1.6 * FAST.pan * 32  # a bent path is longer, and faster at one end
        assert np.abs(np.diff(steps)).max(initial=0) <= FAST.pan * 32 / 4  # smooth
        assert np.abs(np.diff(np.log(camera.scales))).max() <= np.log1p(FAST.zoom) + 1e-9
        assert np.abs(np.diff(np.degrees(camera.angles))).max() <= FAST.turn + 1e-9
        fastest = max(fastest, steps.max())
    assert fastest > 0.7 * FAST.pan * 32


def test_without_motion_a_clip_is_a_still() -> None:
    clip = moving_clip(picture(), (32, 24), 5, generator=seeded(0), motion=STILL)
    assert clip.shape == (5, 32, 24, 3)
    assert clip.dtype == torch.uint8
    assert (clip == clip[:1]).all()


def test_the_clip_shows_the_picture_moving() -> None:
    """Of a ramp the colour tells the place: the middle of every frame has the colour of the path's point there."""
    size, frames, scene = (33, 33), 9, picture()
    camera, scaled = _camera(scene, size, frames, seeded(3), FAST)
    clip = moving_clip(scene, size, frames, generator=seeded(3), motion=FAST, flip=False)
    values = np.asarray(scaled, np.float64)
    for frame in range(frames):
        down, across = camera.centres[frame]
        there = values[int(down), int(across)]
        assert np.abs(clip[frame, 16, 16].numpy() - there).max() <= 3
    assert not torch.equal(clip[0], clip[-1])
    assert (clip[1:].int() - clip[:-1].int()).abs().max() < 40  # no jump


def test_one_key_one_clip(photographs: Path) -> None:
    images = Images(photographs, 16)
    one, other = (MovingOrder(images, (16, 24), 5, seed=3) for _ in range(2))
    other[60]
    assert one[7]["data"].shape == (5, 16, 24, 3)
    assert torch.equal(one[7]["data"], other[7]["data"])
    assert not torch.equal(one[7]["data"], one[7 + 48]["data"])
    assert not torch.equal(MovingOrder(images, (16, 24), 5, seed=4)[7]["data"], one[7]["data"])
    assert sorted(int(one[position]["index"]) for position in range(48)) == list(range(48))
    shown = MovingPictures(images, 5)
    assert torch.equal(shown[2]["data"], MovingPictures(images, 5)[2]["data"])
    assert (len(shown), int(shown[47]["label"])) == (48, 1)
