"""Curves from a comparison's folder: measured once, kept, and one that fails takes nobody along."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from eval.compare.pictures import Fingerprint
from eval.compare.record import Comparison, MemberRow, Values
from eval.curve import __main__ as command
from eval.curve import running
from eval.curve.record import CurveReport
from tokenizer.train import train
from tokenizer.training import TrainConfig

SMALL = {"width": 16, "depth": 1, "heads": 2}
ROW = {"kind": "query1d", "tokens": 4, "min_tokens": 1, "latent_channels": 4, "patch": 8, "learned_side": 4}
MEMBERS = ("ordered", "fixed", "untrained")


def train_member(folder: Path, label: str, backbone: dict[str, Any], pictures: Path) -> None:
    """What ``eval.compare`` leaves of a member: its settings and its run."""
    settings = TrainConfig.parse(
        {
            "model": {
                "backbone": backbone | {"encoder": SMALL, "decoder": SMALL},
                "bottleneck": {"kind": "fsq", "levels": [3, 3, 3, 3]},
            },
            "phases": [{"resolution": 32, "images": 8, "batch": 4}],
            "data": {"path": str(pictures), "num_workers": 0},
            "out": str(folder / "members" / label / "run"),
            "statistics_images": 4,
            "show_every": 0,
            "log_every": 0,
        }
    )
    train(settings)
    (folder / "members" / label / "preset.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, pictures_folder: Path) -> Path:
    """A comparison's folder with two trained members."""
    folder = tmp_path_factory.mktemp("compared")
    train_member(folder, "ordered", ROW, pictures_folder)
    train_member(folder, "fixed", ROW | {"min_tokens": None}, pictures_folder)
    pictures = Fingerprint.of(pictures_folder).model_dump()
    (folder / "comparison.json").write_text(json.dumps({"held_out_pictures": pictures}))
    return folder


@pytest.fixture
def tree(
    compared: Path, pictures_folder: Path, tmp_path: Path, make_report: Callable[..., Any]
) -> Callable[..., dict[str, Any]]:
    """A job on that comparison; its record is written beside the members."""
    base = make_report()
    values = {"psnr": 20.0, "bits_per_pixel": 0.025, "tokens": 4.0}
    record = Comparison(
        command="python -m eval.compare some",
        budget="8 images",
        resolution=32,
        protocol=base.protocol,
        data=base.data.model_copy(update={"path": str(pictures_folder), "num_found": 8, "num_used": 8}),
        training_pictures=Fingerprint.of(pictures_folder),
        members=tuple(
            MemberRow(label=label, preset=label, status="done", numbers=Values(values=values))
            for label in MEMBERS
        ),
        references=(),
        curves={},
        promises=(),
        machine=base.machine,
        commit=None,
        seconds=1.0,
    )
    (compared / "report.json").write_text(record.to_text())

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "comparison": str(compared),
            "out": str(tmp_path / "out"),
            "curves": ["ordered"],
            "beside": ["fixed"],
            "qualities": [6.0],
            "gallery": 2,
            "device": "cpu",
        } | changes

    return make


def invoke(tree: dict[str, Any], *arguments: str) -> object:
    file = Path(tree["out"]).parent / "settings.yaml"
    file.write_text(yaml.safe_dump(tree))
    try:
        command.main([str(file), *arguments])
    except SystemExit as stopped:
        return stopped.code
    return 0


def record(tree: dict[str, Any]) -> CurveReport:
    return CurveReport.parse(json.loads((Path(tree["out"]) / "report.json").read_text()))


def test_every_count_is_measured_once(
    tree: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tree()
    assert invoke(settings) == 0
    (row,) = record(settings).members
    assert [point.tokens for point in row.points] == [1, 2, 3, 4]
    for point in row.points:
        assert point.bits_per_pixel == pytest.approx(point.tokens * 4 * 1.584962500721156 / 32**2)
        assert point.patch_frechet > 0
    assert row.chosen[0].quality == 6.0
    assert [beside.label for beside in record(settings).beside] == ["fixed"]
    for name in ("report.html", "rate_quality.svg", "table.md", "table.csv"):
        assert (Path(settings["out"]) / name).stat().st_size > 0

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("this was measured before")

    monkeypatch.setattr(running, "measure", never)
    assert invoke(settings) == 0
    assert record(settings).members == (row,)


def test_what_fails_is_named_and_takes_nobody_along(tree: Callable[..., dict[str, Any]]) -> None:
    settings = tree(curves=["fixed", "untrained", "ordered"], beside=[], counts=[2, 4])
    assert invoke(settings) == 1
    rows = {row.label: row for row in record(settings).members}
    assert "has 4 tokens, not 2" in rows["fixed"].why or "always has 4 tokens" in rows["fixed"].why
    assert "has not trained it" in rows["untrained"].why
    assert [point.tokens for point in rows["ordered"].points] == [2, 4]


def test_other_pictures_and_unknown_members_are_refused(
    tree: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(tree(curves=["nobody"])) == 2
    assert "no member 'nobody'; there are ordered, fixed, untrained" in capsys.readouterr().err
    other = tmp_path / "other" / "a"
    other.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(other / "one.png")
    assert invoke(tree(pictures=str(tmp_path / "other"))) == 2
    assert "give these as pictures=DIR" in capsys.readouterr().err
    assert invoke(tree(comparison=str(tmp_path))) == 2
    assert "holds no report.json" in capsys.readouterr().err


def test_shown_pictures_come_back_as_they_were(tree: Callable[..., dict[str, Any]]) -> None:
    settings = tree()
    assert invoke(settings) == 0
    config = running.CurveConfig.parse(settings)
    job = running.prepare(config, "again")
    running._row(job, "ordered")
    first = job.shown["ordered"][4]
    assert first.shape == (2, 3, 32, 32)
    assert first.dtype == torch.uint8
