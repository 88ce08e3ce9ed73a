"""With the cache a clip has the bytes that decoding gives, and is decoded once."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokenizer.data import clip_cache
from tokenizer.data.clip_cache import ClipCache, covering, nearest
from tokenizer.data.video_file import read_frames
from tokenizer.data.video_header import DamagedVideo
from tokenizer.data.video_index import IndexedVideo, VideoIndex

TIMES = [Fraction(number, 20) for number in (0, 3, 8, 8, 39, 2, 99)]


@pytest.fixture
def video(films: Path) -> IndexedVideo:
    return VideoIndex(films).videos[0]


def test_the_same_bytes_with_and_without(
    video: IndexedVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = ClipCache().clip(video, TIMES, (20, 24))
    assert decoded.shape == (7, 20, 27, 3)
    cache = ClipCache(tmp_path / "cache")
    assert np.array_equal(cache.clip(video, TIMES, (20, 24)), decoded)
    assert not list((tmp_path / "cache").glob("*.tmp"))
    monkeypatch.setattr(clip_cache, "read_frames", None)  # another decoding would fail
    assert np.array_equal(ClipCache(tmp_path / "cache").clip(video, TIMES, (20, 24)), decoded)
    with pytest.raises(TypeError):
        cache.clip(video, TIMES, (10, 10))  # another size is another file


def test_nothing_is_kept_of_what_failed(
    video: IndexedVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: object, **__: object) -> object:
        with video.file.open() as file:
            yield from list(read_frames(file))[:3]
        raise DamagedVideo("the video is damaged")

    monkeypatch.setattr(clip_cache, "read_frames", cut_short)
    with pytest.raises(DamagedVideo):
        ClipCache(tmp_path).clip(video, TIMES, (20, 24))
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_moment() -> None:
    moments = [Fraction(0), Fraction(1), Fraction(3)]
    asked = [Fraction(-1), Fraction(1, 2), Fraction(51, 100), Fraction(2), Fraction(21, 10), Fraction(9)]
    assert [nearest(moments, time) for time in asked] == [0, 0, 1, 1, 2, 2]


def test_frames_are_scaled_as_pictures_are() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    half = Image.fromarray(frame).resize((30, 20), Image.Resampling.BOX)
    assert np.array_equal(covering(frame, (20, 30)), np.asarray(half))
