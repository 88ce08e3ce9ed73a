"""A job over clips gives what its parts give one by one."""

from pathlib import Path

import pytest
import torch

from eval.errors import EvaluationError
from eval.measures.video_floor import floor_code, floor_frames
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from eval.reconstruct_video import prepare
from eval.video.clips import VideoDataConfig, Videos
from eval.video.measuring import film_of, measure
from eval.video.settings import ReconstructVideoConfig
from tokenizer.loading import load


def config(tokenizer: Path, videos: Path, out: Path, **changes: object) -> ReconstructVideoConfig:
    tree = {
        "tokenizer": str(tokenizer),
        "data": {"path": str(videos)},
        "out": str(out),
        "device": "cpu",
        "metrics": ["psnr", "flicker"],
        "piece_frames": 6,
    }
    return ReconstructVideoConfig.parse(tree | changes)


def test_numbers_are_those_of_whole_clips(wan_folder: Path, videos_folder: Path, tmp_path: Path) -> None:
    job = prepare(config(wan_folder, videos_folder, tmp_path))
    measure(job)
    assert [(clip.file, clip.frames, clip.size) for clip in job.clips] == [
        ("fast.mp4", 20, (32, 40)),
        ("slow.mp4", 13, (32, 40)),
    ]
    _, scores = job.panel.compute()
    assert job.floor is not None
    _, floors = job.floor.compute()
    tokenizer = load(wan_folder)
    videos = Videos.open(VideoDataConfig(path=videos_folder))
    for number, piece in enumerate(videos.pieces(job.protocol, 100)):
        real = piece.frames
        with torch.inference_mode():
            x_hat = tokenizer.decode(tokenizer.encode(from_uint8(real).transpose(0, 1).unsqueeze(0)))
        fake = to_uint8(x_hat[0].transpose(0, 1))
        expected = decibels(mean_squared_error(real, fake))
        assert scores["psnr"].per_frame[number] == pytest.approx(expected.tolist(), abs=0.02)
        floor = torch.stack(list(floor_frames(list(real), floor_code(tokenizer.spec, 32, 40))))
        expected = decibels(mean_squared_error(real, floor))
        assert floors["psnr"].per_frame[number] == pytest.approx(expected.tolist(), abs=1e-6)
    assert job.times.frames == 33
    assert job.first.frames == 20


def test_a_film_is_the_beginning_of_its_clip(wan_folder: Path, videos_folder: Path, tmp_path: Path) -> None:
    job = prepare(
        config(wan_folder, videos_folder, tmp_path, protocol="vidtok", shown_frames=5).model_copy(
            update={"data": VideoDataConfig(path=videos_folder, resolution=16)}
        )
    )
    measure(job)
    assert [(clip.file, clip.place) for clip in job.clips] == [
        ("fast.mp4", 0),
        ("fast.mp4", 1),
        ("slow.mp4", 0),
    ]
    film = film_of(job, 1, "second")
    assert film.real.shape == film.fake.shape == (5, 3, 16, 16)
    assert film.rate == 30
    others = film_of(job, 0, "first")
    assert not torch.equal(film.real, others.real)


def test_nothing_readable_is_an_error(wan_folder: Path, videos_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes((videos_folder / "slow.mp4").read_bytes()[:200])
    data = {"path": str(tmp_path / "videos"), "on_corrupt": "skip"}
    with pytest.raises(EvaluationError, match="none of the 1 videos"):
        measure(prepare(config(wan_folder, videos_folder, tmp_path, data=data)))
