"""The whole command over the nearly free model, ours and the plain handler; that numbers come, never which."""

import json
from pathlib import Path

import pytest

from eval.serving.__main__ import main, run
from eval.serving.record import read_part
from eval.serving.settings import PARTS, PRESETS, ServingConfig


@pytest.mark.slow
@pytest.mark.timeout(900)  # a machine with other work is slow, which is no failure
def test_every_part_reports_and_what_is_done_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["smoke", f"out={tmp_path}"])
    told = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [part["part"] for part in report["parts"]] == list(PARTS)
    assert told == (tmp_path / "report.md").read_text()
    assert "FastAPI with a lock" in told
    assert "<table>" in (tmp_path / "report.html").read_text()
    numbers = {
        (part["part"], row[0]): row
        for part in report["parts"]
        for table in part["tables"]
        for row in table["rows"]
    }
    assert numbers[("ceiling", "8 KB in")][1] > 0
    assert numbers[("capacity", "Tessera")][1] > 0
    assert numbers[("capacity", "FastAPI with a lock")][-1] <= 2  # the same answers
    before = {part: read_part(tmp_path / "parts" / f"{part}.json") for part in PARTS}
    config = ServingConfig.load(PRESETS / "smoke.yaml", [f"out={tmp_path}", "only=[cancel]"])
    run(config, "again")
    after = {part: read_part(tmp_path / "parts" / f"{part}.json") for part in PARTS}
    assert [part for part in PARTS if after[part] != before[part]] == ["cancel"]


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["smoke", "tokenizer=nothing", f"out={tmp_path}"])
    assert ended.value.code == 2
    assert "no tokenizer 'nothing'" in capsys.readouterr().err
