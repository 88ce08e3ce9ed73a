"""Frames come back as they were written, at their times, from anywhere in a file, a few at a time."""

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokenizer.data.video_file import Pixels, read_clip, read_frames, read_pieces
from tokenizer.data.video_header import DamagedVideo, Limits, VideoTooLarge, probe
from tokenizer.data.video_writer import VideoWriter, to_mp4

LOSS = 8  # grey levels that H.264 may take from flat frames


@pytest.fixture(scope="module")
def frames() -> Pixels:
    """30 frames, each of one colour on the left and another on the right."""
    values = np.zeros((30, 32, 48, 3), np.uint8)
    steps = np.arange(30, dtype=np.uint8)[:, None, None]
    values[:, :, :24] = np.stack([steps * 8, 200 - steps * 5, steps * 0 + 60], axis=-1)
    values[:, :, 24:] = np.stack([250 - steps * 7, steps * 6, steps * 3 + 20], axis=-1)
    return values


def difference(a: Pixels, b: Pixels) -> int:
    """The largest away from the seam, which 4:2:0 blurs."""
    gap = np.abs(a.astype(int) - b.astype(int))
    gap[:, :, 20:28] = 0
    return int(gap.max())


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_frames_and_times_come_back(frames: Pixels, rate: Fraction) -> None:
    found = list(read_frames(to_mp4(frames, rate, crf=4)))
    assert [time for time, _ in found] == [number / rate for number in range(30)]
    assert difference(np.stack([frame for _, frame in found]), frames) <= LOSS


def test_pieces_are_the_whole_a_few_at_a_time(frames: Pixels) -> None:
    data = to_mp4(frames, 25)
    whole = np.stack([frame for _, frame in read_frames(data)])
    pieces = list(read_pieces(data, lambda number: 4 if number else 5))
    assert [len(piece.times) for piece in pieces] == [5, 4, 4, 4, 4, 4, 4, 1]
    assert np.array_equal(np.concatenate([piece.pixels for piece in pieces]), whole)
    assert [piece.times[0] for piece in pieces[:2]] == [0, Fraction(1, 5)]


def test_a_clip_from_anywhere_is_what_the_whole_has_there(frames: Pixels, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    with VideoWriter(file, (32, 48), 10) as writer:  # several key frames, so that seeking skips some
        for _ in range(20):
            writer.write(frames)
    whole = np.stack([frame for _, frame in read_frames(file)])
    times = [Fraction(number, 10) for number in (590, 400, 401, 401, 599)]
    assert np.array_equal(read_clip(file, times), whole[[590, 400, 401, 401, 599]])
    assert np.array_equal(read_clip(file, times, threads=2), whole[[590, 400, 401, 401, 599]])


def test_the_nearest_frame_is_taken(frames: Pixels) -> None:
    data = to_mp4(frames, 10)
    whole = np.stack([frame for _, frame in read_frames(data)])
    times = [Fraction(14, 100), Fraction(15, 100), Fraction(16, 100), Fraction(99)]
    assert np.array_equal(read_clip(data, times), whole[[1, 1, 2, 29]])
    small = read_clip(data, times, change=lambda frame: frame[:2, :2])
    assert np.array_equal(small, whole[[1, 1, 2, 29], :2, :2])


def test_a_turned_video_is_turned_back(frames: Pixels) -> None:
    data = bytearray(to_mp4(frames, 25))
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    upright = np.stack([frame for _, frame in read_frames(to_mp4(frames, 25))])
    turned = np.stack([frame for _, frame in read_frames(bytes(data))])
    assert np.array_equal(turned, np.rot90(upright, k=-1, axes=(1, 2)))


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 4, 6))
    out = io.BytesIO()
    clear.save(out, "GIF", save_all=True, append_images=[clear], duration=100, disposal=2)
    ((_, first), *_) = read_frames(out.getvalue())
    assert first[:, :4].tolist() == [[[0, 0, 255]] * 4] * 6
    assert first[:, 4:].tolist() == [[[255, 255, 255]] * 4] * 6


def test_limits_hold_while_decoding_whatever_the_header_said(frames: Pixels) -> None:
    data = to_mp4(frames, 25)
    with pytest.raises(VideoTooLarge, match="frames"):
        list(read_frames(data, probe(data), limits=Limits(frames=10)))


@pytest.mark.parametrize("damage", [lambda data: data[:200] + bytes(len(data) - 200)])
def test_damage_is_told(frames: Pixels, damage: Callable[[bytes], bytes]) -> None:
    data = to_mp4(frames, 25)
    start = data.index(b"mdat")
    stop = data.index(b"moov") - 4
    damaged = data[: start + 4] + bytes(stop - start - 4) + data[stop:]
    with pytest.raises(DamagedVideo, match="damaged"):
        list(read_frames(damaged))
