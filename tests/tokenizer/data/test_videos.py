"""A clip is a function of seed, epoch and number: its frames follow one another, and nothing else changes them."""

import logging
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tokenizer.data.clip_cache import ClipCache
from tokenizer.data.images import Positions, loader
from tokenizer.data.video_header import VideoHeader
from tokenizer.data.video_index import VideoIndex
from tokenizer.data.videos import ClipOrder, Clips, Pace, Parts


def numbers(clip: Tensor) -> list[int]:
    """Which frame of its film each frame is; see ``conftest.film``."""
    reds = clip[..., 0].float().mean(dim=(1, 2))
    return [round(float(red) / 8) for red in reds]


def header(frames: int, rate: int = 10) -> VideoHeader:
    return VideoHeader("mp4", "h264", (8, 8), (8, 8), 0, frames, Fraction(rate), False, frames / rate)


def test_evaluation_clips_are_one_after_another_and_centred(films: Path) -> None:
    clips = Clips(VideoIndex(films).videos, 32, 5)
    assert len(clips) == 4 + 1 + 1 + 2  # of 20, 7, 2 and 12 frames
    assert clips[0]["data"].shape == (5, 32, 32, 3)
    assert [numbers(clips[index]["data"]) for index in range(4)] == [
        list(range(first, first + 5)) for first in (1, 5, 9, 13)
    ]
    assert numbers(clips[4]["data"]) == [1, 2, 3, 4, 5]
    assert numbers(clips[5]["data"]) == [0, 1, 0, 1, 0]  # two frames, back and forth
    assert [int(clips[index]["label"]) for index in range(8)] == [0] * 5 + [1] * 3
    with pytest.raises(IndexError):
        clips[8]


@pytest.mark.parametrize(
    ("pace", "frames", "expected"),
    [
        (Pace(), 4, [3, 4, 5, 6]),
        (Pace(stride=3), 4, [3, 6, 9, 12]),
        (Pace(Fraction(5)), 4, [3, 5, 7, 9]),
        (Pace(Fraction(5), stride=2), 3, [3, 7, 11]),
        (Pace(Fraction(20)), 4, [3, 3.5, 4, 4.5]),
    ],
)
def test_paces(pace: Pace, frames: int, expected: list[float]) -> None:
    one = header(30)
    room = 29 - (expected[-1] - expected[0])
    times = pace.times(one, frames, (3.01) / room)
    assert [float(time * 10) for time in times] == pytest.approx(expected)


def test_clips_fill_a_video_and_never_leave_it() -> None:
    for frames_of_video in (1, 2, 5, 16, 17, 33, 100):
        for frames in (1, 4, 17):
            pace = Pace()
            count = pace.num_clips(header(frames_of_video), frames)
            assert count == max(1, frames_of_video // frames)
            for place in (0.0, 0.3, 0.999):
                times = pace.times(header(frames_of_video), frames, place)
                assert min(times) >= 0
                assert max(times) <= Fraction(frames_of_video - 1, 10)


def test_an_epoch_sees_each_clip_once(films: Path) -> None:
    order = ClipOrder(VideoIndex(films).videos, (16, 24), 3, seed=1)
    count = len(order)
    assert count == 6 + 2 + 1 + 4
    first, second = ([int(order[start + place]["index"]) for place in range(count)] for start in (0, count))
    assert sorted(first) == sorted(second) == list(range(count))
    assert first != second
    assert order[0]["data"].shape == (3, 16, 24, 3)


def test_a_position_is_a_clip_whoever_reads_it(films: Path, tmp_path: Path) -> None:
    videos = VideoIndex(films).videos
    one = ClipOrder(videos, (16, 16), 4, seed=3)
    other = ClipOrder(videos, (16, 16), 4, seed=3, cache=ClipCache(tmp_path, 2))
    other[30]
    starts = set()
    for position in range(12):
        assert torch.equal(one[position]["data"], other[position]["data"])
        assert int(one[position]["key"]) == int(other[position]["key"])
        seen = numbers(one[position]["data"])
        starts.add((int(one[position]["index"]), seen[0]))
        if len(set(seen)) == 4:
            assert np.diff(seen).tolist() == [1, 1, 1]
    assert len(starts) > len(one)  # another epoch begins elsewhere
    assert not torch.equal(ClipOrder(videos, (16, 16), 4, seed=4)[0]["data"], one[0]["data"])


def test_workers_change_nothing(films: Path) -> None:
    order = ClipOrder(VideoIndex(films).videos, (16, 16), 2, seed=0)
    results = [
        torch.cat([batch["data"] for batch in loader(order, Positions(0, 8, 4), workers)])
        for workers in (0, 2)
    ]
    assert torch.equal(*results)


def test_tar_and_folder_give_the_same_clips(films: Path, make_tar: Callable[..., Path]) -> None:
    names = ["high/a.mp4", "high/b.mp4", "low/c.mp4", "low/d.mp4"]
    shard = make_tar("s.tar", {name: (films / name).read_bytes() for name in names})
    orders = [ClipOrder(VideoIndex(path).videos, (16, 16), 4, seed=3) for path in (films, shard)]
    assert all(torch.equal(orders[0][place]["data"], orders[1][place]["data"]) for place in range(6))


def test_a_clip_that_cannot_be_decoded_is_named_and_replaced_the_same_way(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(films, tmp_path / "films"))
    damaged = bytearray((folder / "high/a.mp4").read_bytes())
    start, stop = damaged.index(b"mdat") + 4, damaged.index(b"moov") - 4
    damaged[start:stop] = bytes(stop - start)
    (folder / "high/a.mp4").write_bytes(damaged)  # its header is whole
    order = ClipOrder(VideoIndex(folder).videos, (16, 16), 5, seed=0)
    assert len(order) == 8
    position = order.epochs.permutation(0).tolist().index(1)
    with caplog.at_level(logging.WARNING):
        first, second = order[position], order[position]
    assert "a.mp4 cannot be read" in caplog.text
    assert int(first["index"]) == 4  # the first clip of the next film
    assert torch.equal(first["data"], second["data"])
    for name in ("high/b.mp4", "low/c.mp4", "low/d.mp4"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="none of the videos can be read"):
        ClipOrder(VideoIndex(folder).videos, (16, 16), 5, seed=0)[0]


def test_parts_of_a_video_lie_apart() -> None:
    class One:
        header = header(100)

    parts = Parts([One()], 10, Pace())  # type: ignore[list-item]  # only the header is read
    spans = [[parts.clip(index, place)[1][0] for place in (0.0, 0.99)] for index in range(len(parts))]
    assert len(spans) == 10
    assert all(low <= high for low, high in spans)
    assert all(spans[index][1] <= spans[index + 1][0] for index in range(9))
