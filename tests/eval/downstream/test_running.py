"""The job from end to end: two families, one member that fails, and everything again for free."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.downstream import __main__ as command
from eval.downstream import running
from eval.downstream.record import DownstreamReport
from eval.downstream.settings import DownstreamConfig

Tree = Callable[..., dict[str, Any]]


def invoke(tree: dict[str, Any], *arguments: str) -> object:
    """The command in this process; its exit status."""
    file = Path(tree["out"]).parent / "settings.yaml"
    file.write_text(yaml.safe_dump(tree))
    try:
        command.main([str(file), *arguments])
    except SystemExit as stopped:
        return stopped.code
    return 0


def record(tree: dict[str, Any]) -> DownstreamReport:
    return DownstreamReport.parse(json.loads((Path(tree["out"]) / "report.json").read_text()))


def test_a_failing_member_takes_nobody_along_and_nothing_is_done_twice(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tree(members=[{"label": "lost", "source": "no/such/tokenizer"}, *tree()["members"]])
    assert invoke(settings) == 1
    rows = {row.label: row for row in record(settings).members}
    assert [rows[label].status for label in ("lost", "grid", "row")] == ["failed", "done", "done"]
    assert "no tokenizer 'no/such/tokenizer'" in rows["lost"].why
    assert (rows["grid"].latent_shape, rows["row"].latent_shape) == ((4, 8, 8), (4, 6))
    for label in ("grid", "row"):
        row = rows[label]
        assert row.generation is not None
        assert row.generation.mean > 0
        assert row.reconstruction is not None
        assert row.psnr is not None
        assert row.loss is not None
        assert row.training["images"] == 16
    out = Path(settings["out"])
    assert (out / "report.html").is_file()
    assert "`grid`" in (out / "table.md").read_text()

    def never(*arguments: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(running, "generate", never)
    assert invoke(settings, "only=[grid]") == 0  # nothing to do: the lost one is not wanted
    again = {row.label: row for row in record(settings).members}
    assert (again["grid"], again["row"]) == (rows["grid"], rows["row"])


def test_what_is_not_wanted_waits_and_other_budgets_are_refused(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tree()
    assert invoke(settings, "only=[row]") == 0
    statuses = {row.label: row.status for row in record(settings).members}
    assert statuses == {"grid": "left out", "row": "done"}
    assert invoke(settings, "images=64") == 2
    assert "images=16, not 64" in capsys.readouterr().err


def test_a_row_is_made_again_when_its_tokenizer_changed(
    tree: Tree, config: Callable[..., DownstreamConfig], row_tokenizer_folder: Path
) -> None:
    one = tree(members=tree()["members"][:1])
    assert invoke(one) == 0
    other = one | {"members": [{"label": "grid", "source": str(row_tokenizer_folder)}]}
    assert invoke(other) == 0
    assert record(other).members[0].latent_shape == (4, 6)
