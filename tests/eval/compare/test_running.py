"""The command from end to end: two members that train, one that cannot, and everything again for free."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.compare import __main__ as command
from eval.compare import running
from eval.compare.record import Comparison
from eval.compare.settings import CompareConfig
from tokenizer.loading import load


@dataclass(frozen=True)
class Done:
    """A comparison that ran: its settings and its exit status."""

    tree: dict[str, Any]
    out: Path
    status: object


def invoke(folder: Path, tree: dict[str, Any], *arguments: str) -> object:
    """The command in this process; the members train in their own. Returns the exit status."""
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(tree))
    try:
        command.main([str(file), *arguments])
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.fixture(scope="module")
def done(presets: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Micro members on 64 images; the first one fails by construction."""
    folder = tmp_path_factory.mktemp("comparison")
    tree = {
        "members": [str(presets / f"{name}.yaml") for name in ("broken", "micro", "micro_fsq")],
        "promises": [
            {"member": "micro", "against": "micro_fsq", "improves": "psnr"},
            {"member": "broken", "against": "micro", "improves": "sharpness"},
        ],
        "data": {
            "path": str(photographs / "rings"),
            "validation": str(photographs / "waves"),
            "num_workers": 0,
            "max_images": 8,
        },
        "out": str(folder / "out"),
        "images": 64,
        "resolution": 32,
        "batch": 8,
        "device": "cpu",
        "gallery": 2,
    }
    return Done(tree, folder / "out", invoke(folder, tree))


def record(out: Path) -> Comparison:
    return Comparison.parse(json.loads((out / "report.json").read_text()))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_the_member_that_fails_says_why_and_takes_nobody_along(done: Done) -> None:
    assert done.status == 1
    made = record(done.out)
    rows = {row.label: row for row in made.members}
    assert (rows["broken"].status, rows["broken"].numbers.values) == ("failed", {})
    assert "no tokenizer 'no/such/tokenizer'" in rows["broken"].why
    depth = rows["micro"].numbers.values["bits_per_value"]
    for label, bits in (("micro", 4 * 64 * depth), ("micro_fsq", 64 * 7.491853096329675)):
        row = rows[label]
        assert row.status == "done"
        assert row.bits == pytest.approx(bits)
        assert row.numbers.values["images"] == 64
        assert row.spec_id == load(done.out / "members" / label / "run").spec_id
        assert row.machine is not None
        assert row.training_settings["phases"][0]["resolution"] == 32
    assert made.command.startswith("python -m eval.compare ")
    assert made.seconds > 0
    assert [promise.kept is None for promise in made.promises] == [False, True]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_references_stand_at_the_bits_of_every_member(done: Done) -> None:
    made = record(done.out)
    rounded = round(
        4 * 64 * next(row.numbers.values["bits_per_value"] for row in made.members if row.label == "micro")
    )
    assert {(row.kind, round(row.budget)) for row in made.references} == {
        (kind, bits) for kind in ("floor", "jpeg", "webp") for bits in (479, rounded)
    }
    for row in made.references:
        assert row.bits is None or row.bits <= row.budget
        assert (row.bits is None) == bool(row.remark)
    for member in made.members[1:]:
        (floor,) = (row for row in made.references if row.kind == "floor" and row.budget == member.bits)
        values = member.numbers.values
        assert values["gain"] == pytest.approx(values["psnr"] - floor.numbers.values["psnr"])
    assert made.curves.keys() == {"floor", "jpeg", "webp"}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_all_files_are_there_and_agree(done: Done) -> None:
    psnr = {row.label: row.numbers.values.get("psnr") for row in record(done.out).members}
    with (done.out / "table.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert float(rows["micro"]["psnr"]) == pytest.approx(psnr["micro"])
    markdown, page = ((done.out / name).read_text() for name in ("table.md", "report.html"))
    for text in (markdown, page):
        assert f"{psnr['micro']:.2f}" in text
        assert "no/such/tokenizer" in text
    assert (done.out / "rate_distortion.svg").read_text() in page
    assert page.count("data:image/png;base64,") >= 1 + 2 + 2


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
def test_what_is_done_is_not_done_again(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("this was done already")

    monkeypatch.setattr(running, "train_member", fail)
    monkeypatch.setattr(running, "measure", fail)
    before = record(done.out)
    assert invoke(tmp_path, done.tree, "only=[micro]") == 0
    after = record(done.out)
    assert after.members[1:] == before.members[1:]
    assert after.references == before.references
    assert (after.members[0].status, after.members[0].why) == ("left out", "not in only, and not trained yet")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trainers start anew, which takes minutes where many others run
@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("images=128", "images=64, not 128"),
        ("resolution=16", "resolution=32, not 16"),
        ("seed=1", "seed=0, not 1"),
        (
            "members.1.overrides=[optim.lr=0.1]",
            r"member micro: this folder holds a run with optim.lr=0.005, not 0.1",
        ),
        ("data.validation=no/such/folder", "no/such/folder"),
    ],
)
def test_other_settings_are_refused_in_one_line(
    done: Done, argument: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = done.tree
    if argument.startswith("members"):
        label = {"preset": tree["members"][1], "label": "micro", "overrides": ["optim.lr=0.1"]}
        tree = tree | {"members": [tree["members"][0], label, tree["members"][2]]}
        arguments = []
    else:
        arguments = [argument]
    assert invoke(tmp_path, tree, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_mistakes_are_found_before_anything_trains(
    tree: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(tmp_path, tree(images=8)) == 2
    assert (
        "member micro_fsq: 8 images in steps of 8 are fewer steps than the preset has phases, 2"
        in capsys.readouterr().err
    )
    assert invoke(tmp_path, tree(members=["no_such_preset"])) == 2
    assert "no preset 'no_such_preset'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_member_that_breaks_while_it_is_measured_is_a_row(
    config: Callable[..., CompareConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*arguments: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(running, "train_member", explode)
    made = running.run(config(), "command")
    assert [row.why for row in made.members] == ["RuntimeError: out of memory"] * 2
    assert made.references == ()
