"""An MP4 keeps size, times and length, whatever they are, and plays everywhere."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tokenizer.data.video_file import read_frames
from tokenizer.data.video_header import probe
from tokenizer.data.video_writer import VideoWriter, to_mp4, write_video

RNG = np.random.default_rng(0)
SMOOTH = np.kron(
    RNG.integers(40, 210, (6, 4, 4, 1), dtype=np.uint8), np.ones((1, 9, 9, 3), np.uint8)
)  # greys


@pytest.mark.parametrize("size", [(36, 36), (35, 36), (36, 35), (33, 31), (1, 1)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    frames = SMOOTH[:, : size[0], : size[1]]
    data = to_mp4(frames, 12)
    assert probe(data).size == size
    found = np.stack([frame for _, frame in read_frames(data)])
    assert found.shape == frames.shape
    assert np.abs(found.astype(int) - frames).mean() < 4


def test_every_player_can_play_it() -> None:
    with av.open(io.BytesIO(to_mp4(SMOOTH, 25))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
        assert [packet.pts for packet in container.demux(stream) if packet.size] == [
            packet.dts for packet in av.open(io.BytesIO(to_mp4(SMOOTH, 25))).demux(video=0) if packet.size
        ]


def test_times_of_their_own_are_kept_and_so_is_the_length() -> None:
    times = [Fraction(0), Fraction(1, 24), Fraction(1, 3), Fraction(1, 2), Fraction(7, 9), Fraction(2)]
    out = io.BytesIO()
    writer = VideoWriter(out, (36, 36), 10)
    writer.write(SMOOTH[:2], times[:2])
    writer.write(SMOOTH[2:], times[2:])
    writer.close(Fraction(3, 4))
    assert [time for time, _ in read_frames(out.getvalue())] == times  # all are whole 90000ths of a second
    assert probe(out.getvalue()).seconds == pytest.approx(2.75)


def test_colours_survive() -> None:
    flat = np.zeros((2, 16, 16, 3), np.uint8) + np.array([220, 40, 90], np.uint8)
    for _, frame in read_frames(to_mp4(flat, 25)):
        assert np.abs(frame.astype(int) - flat[0]).max() <= 3


def test_quality_costs_bytes() -> None:
    noise = RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert len(to_mp4(noise, 25, crf=40)) < len(to_mp4(noise, 25)) < len(to_mp4(noise, 25, crf=4))


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sides from 1 to 16384"):
        VideoWriter(io.BytesIO(), (0, 4), 25)
    with pytest.raises(ValueError, match="frames per second"):
        VideoWriter(io.BytesIO(), (4, 4), 0)
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "none.mp4", SMOOTH[:0], 25)
    writer = VideoWriter(io.BytesIO(), (36, 36), 25)
    with pytest.raises(ValueError, match=r"must be uint8 \(n, 36, 36, 3\)"):
        writer.write(SMOOTH[:, :8])
    writer.write(SMOOTH[:1], [Fraction(1)])
    with pytest.raises(ValueError, match="must rise"):
        writer.write(SMOOTH[:1], [Fraction(1)])
    writer.abandon()
