"""The whole command: what it measures, keeps and writes; that numbers come, never which."""

import json
from pathlib import Path

import pytest

from eval.serving import __main__ as command
from eval.serving.__main__ import main, run
from eval.serving.record import Claim, Table
from eval.serving.session import Session
from eval.serving.settings import PARTS, PRESETS, ServingConfig


@pytest.mark.slow
@pytest.mark.timeout(900)  # a machine with other work is slow, which is no failure
def test_ours_and_the_plain_handler_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The parts that need the servers most; the others are held by their own tests over scripted servers."""
    main(["smoke", "operations=[decode]", "parts=[capacity,cancel,soak]", f"out={tmp_path}"])
    told = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [part["part"] for part in report["parts"]] == ["capacity", "cancel", "soak"]
    assert told == (tmp_path / "report.md").read_text()
    assert "<table>" in (tmp_path / "report.html").read_text()
    rows = {
        (part["part"], row[0]): dict(zip(table["columns"], row, strict=True))
        for part in report["parts"]
        for table in part["tables"]
        for row in table["rows"]
    }
    assert {name for part, name in rows if part == "capacity"} >= {"Tessera", "FastAPI with a lock"}
    assert rows[("capacity", "FastAPI with a lock")]["as ours"] <= 2  # grey levels: the same answers
    assert rows[("cancel", "decode")]["survivors"] == "8 of 8"
    (soaked,) = [row for (part, _), row in rows.items() if part == "soak"]
    assert soaked["requests"] > 0
    assert soaked["failed"] == 0


def test_what_is_done_is_kept_until_it_is_named_or_its_settings_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def fake(part: str) -> object:
        def measure(_: Session) -> tuple[list[Table], list[Claim]]:
            measured.append(part)
            return [Table(title=part, columns=("n",), rows=((len(measured),),))], []

        return measure

    monkeypatch.setattr(command, "MEASURES", {part: fake(part) for part in PARTS})

    def config(*overrides: str) -> ServingConfig:
        return ServingConfig.load(PRESETS / "smoke.yaml", [f"out={tmp_path}", *overrides])

    assert [part.part for part in run(config(), "first").parts] == list(PARTS)
    assert measured == list(PARTS)
    run(config(), "second")
    assert measured == list(PARTS)
    again = run(config("only=[cancel]"), "third")
    assert measured[len(PARTS) :] == ["cancel"]
    assert [part.tables[0].rows[0][0] for part in again.parts] == [1, 2, 3, 4, 5, len(PARTS) + 1, 7]
    run(config("seed=1", "parts=[soak]"), "fourth")
    assert measured[len(PARTS) + 1 :] == ["soak"]


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["smoke", "tokenizer=nothing", f"out={tmp_path}"])
    assert ended.value.code == 2
    assert "no tokenizer 'nothing'" in capsys.readouterr().err
