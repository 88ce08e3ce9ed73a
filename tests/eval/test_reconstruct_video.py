"""The job over video from end to end on a tiny tokenizer and clips made here."""

import csv
import json
from pathlib import Path

import pytest

from eval import reconstruct_video
from eval.reconstruct_video import ReconstructVideoConfig, run
from eval.video.report import ClipComputed, VideoReport
from tokenizer.data.video_header import probe
from tokenizer.loading import load


def config(tokenizer: Path, videos: Path, out: Path, **changes: object) -> ReconstructVideoConfig:
    tree = {
        "tokenizer": str(tokenizer),
        "data": {"path": str(videos)},
        "out": str(out),
        "device": "cpu",
    }
    return ReconstructVideoConfig.parse(tree | changes)


def test_command_writes_everything(
    wan_folder: Path, videos_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    reconstruct_video.main(
        [
            f"tokenizer={wan_folder}",
            f"data.path={videos_folder}",
            f"out={out}",
            "device=cpu",
            "piece_frames=8",
            "memory_frames=[9,17]",
        ]
    )
    tree = json.loads((out / "report.json").read_text())
    assert VideoReport.parse(tree).to_text() == (out / "report.json").read_text()
    assert (tree["data"]["num_clips"], tree["data"]["num_frames"]) == (2, 33)
    assert tree["protocol"]["name"] == "streaming"
    assert tree["tokenizer"]["spec_id"] == load(wan_folder).spec_id
    assert set(tree["metrics"]) == {"psnr", "ssim", "lpips_vgg", "flicker"}
    assert set(tree["metrics"]["lpips_vgg"]) == {"not_computed", "put"}
    assert set(tree["floor"]["metrics"]) == {"psnr", "ssim", "flicker"}
    latents = (1 + 5) * 8 * 10 * 4 + (1 + 3) * 8 * 10 * 4
    assert tree["bits_per_pixel"] == pytest.approx(16 * latents / (33 * 32 * 40))
    assert [point["frames"] for point in tree["memory"]] == [9, 17]
    assert tree["frames_per_s"] > 0
    rows = list(csv.DictReader((out / "per_clip.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == ["fast.mp4", "slow.mp4"]
    frames = list(csv.DictReader((out / "per_frame.csv").read_text().splitlines()))
    assert len(frames) == 33
    assert frames[0]["flicker"] == ""
    assert float(frames[1]["flicker"]) > 0
    film = next((out / "films").glob("worst-*.mp4"))
    assert probe(film).size == (32, 80)
    page = (out / "report.html").read_text()
    for shown in ("Worst by PSNR", "data:video/mp4", "Peak memory against frames"):
        assert shown in page
    assert tree["protocol"]["hash"] in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["vidtok", "tokenbench", "wfvae", "magvit-ucf-fixed"])
def test_every_protocol_runs(protocol: str, wan_folder: Path, videos_folder: Path, tmp_path: Path) -> None:
    data = {"path": str(videos_folder)} | ({} if protocol == "tokenbench" else {"resolution": 16})
    report = run(
        config(wan_folder, videos_folder, tmp_path, protocol=protocol, data=data, gallery=0, floor=False)
    )
    assert report.protocol.name == protocol
    psnr = report.metrics["psnr"]
    assert isinstance(psnr, ClipComputed)
    assert psnr.num_clips == {"vidtok": 3}.get(protocol, 2)
    assert report.floor is None
    assert not (tmp_path / "films").exists()


def test_a_tokenizer_of_pictures_is_measured_too(
    tokenizer_folder: Path, videos_folder: Path, tmp_path: Path
) -> None:
    report = run(config(tokenizer_folder, videos_folder, tmp_path, metrics=["psnr", "flicker"], gallery=0))
    assert report.bits_per_pixel == 4 * 16 / 16
    assert isinstance(report.metrics["flicker"], ClipComputed)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.path=no/such/folder", "neither a folder nor a file"),
        ("tokenizer=no-such-model", "no tokenizer 'no-such-model'"),
        ("protocol=vidtock", "streaming, magvit-ucf"),
        ("metrics=[fvd]", "rfvd_styleganv"),
        ("require=[lpips_vgg]", "required, and not computed"),
        ("device=gpu", "use auto, cpu"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    argument: str,
    sentence: str,
    wan_folder: Path,
    videos_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"tokenizer": str(wan_folder), "data.path": str(videos_folder), "out": str(tmp_path)}
    name, _, value = argument.partition("=")
    arguments = [f"{key}={text}" for key, text in (given | {name: value}).items()]
    with pytest.raises(SystemExit) as stopped:
        reconstruct_video.main(arguments)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_presets_are_valid() -> None:
    presets = sorted(reconstruct_video.PRESETS.glob("*.yaml"))
    assert presets
    more = ["tokenizer=demo", "data.path=videos", "out=runs"]
    for file in presets:
        ReconstructVideoConfig.load(file, more)
