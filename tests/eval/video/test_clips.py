"""Clips of files: windows and whole files, sizes, corrupt files by name."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from eval.errors import EvaluationError
from eval.protocols.video import VideoProtocol, video_protocol
from eval.video.clips import VideoDataConfig, Videos, cut, stride
from tests.eval.video.clipping import frames

STREAMING = video_protocol("streaming")


def windows(**changes: object) -> VideoProtocol:
    return VideoProtocol.parse({"name": "test", "frames": 5, **changes})


def lengths(count: int, protocol: VideoProtocol, piece_frames: int = 4) -> list[tuple[int, bool]]:
    return [(len(part.frames), part.last) for part in cut(frames(count), protocol, piece_frames)]


@pytest.mark.parametrize("count", [1, 4, 8, 9])
def test_whole_files_in_pieces_end_once(count: int) -> None:
    found = lengths(count, STREAMING)
    assert sum(length for length, _ in found) == count
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]
    joined = torch.cat([part.frames for part in cut(frames(count), STREAMING, 4)])
    assert torch.equal(joined, frames(count))


def test_windows_repeat_or_drop_the_last() -> None:
    assert lengths(10, windows()) == [(5, True)] * 2
    assert lengths(12, windows()) == [(5, True)] * 3
    last = list(cut(frames(12), windows(), 4))[-1].frames
    assert torch.equal(last[2:], frames(12)[-1:].expand(3, -1, -1, -1))
    assert lengths(12, windows(last="drop")) == [(5, True)] * 2
    assert lengths(12, windows(windows="first")) == [(5, True)]
    assert lengths(3, windows(windows="first")) == [(5, True)]
    assert lengths(3, windows(last="drop")) == []


def test_frames_are_taken_at_about_the_rate() -> None:
    assert [stride(Fraction(rate), 30.0) for rate in (24, 30, 60, 120, 10)] == [1, 1, 2, 4, 1]
    assert stride(Fraction(60), None) == 1


def test_a_folder_in_order(videos_folder: Path) -> None:
    videos = Videos.open(VideoDataConfig(path=videos_folder))
    pieces = list(videos.pieces(STREAMING, 8))
    assert [(piece.file, piece.clip, len(piece.frames)) for piece in pieces] == [
        ("fast.mp4", 0, 8),
        ("fast.mp4", 0, 8),
        ("fast.mp4", 0, 4),
        ("slow.mp4", 1, 8),
        ("slow.mp4", 1, 5),
    ]
    assert pieces[0].frames.shape == (8, 3, 32, 40)
    assert pieces[0].rate == 30
    again = Videos.open(VideoDataConfig(path=videos_folder))
    assert [piece.clip for piece in again.pieces(STREAMING, 8)] == [0, 0, 0, 1, 1]
    assert again.content.hexdigest() == videos.content.hexdigest()


def test_crops_and_one_file(videos_folder: Path) -> None:
    videos = Videos.open(VideoDataConfig(path=videos_folder / "slow.mp4"))
    (piece,) = videos.pieces(video_protocol("vidtok", 16), 4)
    assert piece.frames.shape == (17, 3, 16, 16)
    assert piece.frames.is_floating_point()
    assert piece.frames.abs().max() <= 1.0
    assert piece.last


def test_corrupt_files_are_named(videos_folder: Path, tmp_path: Path) -> None:
    whole = (videos_folder / "slow.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.mp4").write_bytes(whole)
    (tmp_path / "notes.txt").write_text("no video")
    data = VideoDataConfig(path=tmp_path)
    with pytest.raises(EvaluationError, match=r"a\.mp4.*on_corrupt=skip"):
        list(Videos.open(data).pieces(STREAMING, 8))
    videos = Videos.open(data)
    skipping = video_protocol("streaming", on_corrupt="skip")
    assert {(piece.file, piece.clip) for piece in videos.pieces(skipping, 8)} == {("b.mp4", 0)}
    assert videos.skipped[0].startswith("a.mp4")


def test_no_videos(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no videos below it"):
        Videos.open(VideoDataConfig(path=tmp_path))
    with pytest.raises(EvaluationError, match="neither a folder nor a file"):
        Videos.open(VideoDataConfig(path=tmp_path / "none"))
