"""Claims, tables and files of a report."""

import json
import math
from pathlib import Path

import pytest
import torch

from eval import machine
from eval.serving.record import Claim, PartRecord, ServingReport, Table, cell_text, read_part, save


def part(**changes: object) -> PartRecord:
    values = {
        "part": "latency",
        "settings": {"seed": 0},
        "commit": "abc",
        "spent_s": 3.0,
        "tables": [
            {
                "title": "A | B",
                "columns": ["name", "ms"],
                "rows": [["x|y", 1.23456], ["z", None]],
                "notes": ["Why."],
            }
        ],
        "claims": [{"says": "fast <b>", "measured": "1 ms", "holds": True}],
    }
    return PartRecord.parse(values | changes)


def report(*parts: PartRecord) -> ServingReport:
    return ServingReport(
        command="python -m eval.serving smoke",
        cores="nothing is pinned",
        machine=machine.describe(torch.device("cpu")),
        commit="abc",
        parts=parts,
    )


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (Claim.at_most("a", 1.0, 1.0, "ms"), True),
        (Claim.at_most("a", 1.1, 1.0, "ms"), False),
        (Claim.at_most("a", math.inf, 1.0, "ms"), False),
        (Claim.at_least("a", 1.0, 1.0, "x"), True),
        (Claim.at_least("a", 0.9, 1.0, "x"), False),
        (Claim.at_least("a", math.nan, 1.0, "x"), None),
        (Claim.at_most("a", math.nan, 1.0, "x"), None),
    ],
)
def test_claims(claim: Claim, holds: bool | None) -> None:
    assert claim.holds is holds
    assert (claim.measured == "not measured") == (holds is None)


def test_a_part_is_kept_and_read_again(tmp_path: Path) -> None:
    save(part(), tmp_path / "a.json")
    assert read_part(tmp_path / "a.json") == part()
    assert read_part(tmp_path / "missing.json") is None
    (tmp_path / "b.json").write_text('{"part": "latency"}')
    assert read_part(tmp_path / "b.json") is None


def test_infinity_is_text_in_json_and_what_is_unknown_is_null(tmp_path: Path) -> None:
    endless = Table(title="t", columns=("a",), rows=((math.inf,), (math.nan,)))
    save(part(tables=[endless]), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["tables"][0]["rows"] == [["inf"], [None]]


def test_all_claims_of_a_report() -> None:
    assert len(report(part(), part(part="soak")).claims()) == 2


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (1234.5, "1234"),
        (12.345, "12.3"),
        (0.00123, "0.00123"),
        (7, "7"),
        ("a", "a"),
    ],
)
def test_cells_for_people(cell: float | str | None, text: str) -> None:
    assert cell_text(cell) == text
