"""The latent of a clip is checked by its frames, and only where clips are decoded."""

import numpy as np
import pytest

from service import wire
from service.errors import TooManyPixels, WrongShape
from service.video_errors import NoClips
from service.wire import Stored, WireLatent
from tokenizer.spec import LatentSpec, Timeline

SPEC_ID = "0123456789abcdef"
LIMITS = {"max_pixels": 10_000, "max_batch": 2}


def latent(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_the_latent_of_a_clip_belongs_to_its_frames() -> None:
    video = LatentSpec.video(4, 8, Timeline(4))
    limits = {**LIMITS, "max_clip_pixels": 20_000}

    def checked(z: np.ndarray, size: str, spec: LatentSpec = video, **changes: object) -> wire.CheckedLatent:
        sent = WireLatent({"z": Stored(z)}, size, SPEC_ID)
        return wire.check(sent, spec, SPEC_ID, **(limits | changes))  # type: ignore[arg-type]  # by name

    for frames, there in ((1, 1), (2, 2), (5, 2), (6, 3)):
        found = checked(latent(1, 4, there, 3, 4), f"{frames},20,30")
        assert (found.size, found.picture_size, found.batch) == ((frames, 20, 30), (20, 30), 1)
    assert checked(latent(2, 4, 1, 3, 4), "20,30").size == (20, 30)  # two pictures
    with pytest.raises(WrongShape, match="pixels of 9,20,30 have"):
        checked(latent(1, 4, 2, 3, 4), "9,20,30")
    with pytest.raises(WrongShape, match="2 samples"):
        checked(latent(2, 4, 2, 3, 4), "5,20,30")
    with pytest.raises(TooManyPixels, match="99,20,30"):
        checked(latent(1, 4, 2, 3, 4), "99,20,30")
    for spec, changes in ((LatentSpec.image(4, 8), {}), (video, {"max_clip_pixels": None})):
        with pytest.raises(NoClips, match="is of a clip"):
            checked(latent(1, 4, 2, 3, 4), "5,20,30", spec, **changes)
