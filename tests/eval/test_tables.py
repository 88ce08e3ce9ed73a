"""Rows for other documents: every number beside its protocol, its n and its interval."""

import csv
import io
from collections.abc import Callable

import pytest

from eval.report import Computed, NotComputed, Report
from eval.tables import csv_text, latex, markdown

Make = Callable[..., Report]


def entry(value: float, count: int = 7) -> Computed:
    return Computed(value=value, ci95=(value - 1, value + 1), num_images=count, higher_is_better=True)


@pytest.fixture
def report(make_report: Make) -> Report:
    made = make_report(
        psnr=entry(25.0), ssim=entry(0.75), rfid=NotComputed(not_computed="a file", put="there")
    )
    return made.model_copy(update={"slices": {"te_xt|": {"psnr": entry(21.5, 3)}}})


def test_csv_has_a_line_a_number(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    found = {(row["set"], row["metric"]): row for row in rows}
    assert all(row["hash"] == report.protocol.hash and row["protocol"] == "canon-v1" for row in rows)
    psnr = found["all", "psnr"]
    assert [float(psnr[name]) for name in ("value", "low", "high")] == [25.0, 24.0, 26.0]
    assert (found["te_xt|", "psnr"]["value"], found["te_xt|", "psnr"]["num_images"]) == ("21.5", "3")
    assert found["all", "rfid"]["value"] == ""
    assert found["all", "rfid"]["remark"] == "not computed: needs a file"
    assert float(found["all", "bits_per_pixel"]["value"]) == 2.0


def test_markdown_is_one_table(report: Report) -> None:
    text = markdown(report, "demo")
    lead, _, head, rule, whole, part = text.splitlines()
    assert report.protocol.hash in lead
    assert head == "| demo | n | psnr | ssim | bits_per_pixel | images_per_s |"
    assert rule.count("|") == head.count("|")
    assert "25.0000 (24.0000 to 26.0000)" in whole
    assert part.startswith(r"| te_xt\| | 3 | 21.5000 (20.5000 to 22.5000) | - |")


def test_latex_rows_compile(report: Report) -> None:
    text = latex(report, "our_50%")
    comments = [line for line in text.splitlines() if line.startswith("%")]
    rows = [line for line in text.splitlines() if not line.startswith("%")]
    assert report.protocol.hash in comments[0]
    assert len(rows) == 2
    for row in rows:
        assert row.endswith(r" \\")
        assert row.count(" & ") == 5
        assert row.count("{") == row.count("}")
    assert rows[0].startswith(r"our\_50\% & 7 & 25.0000 {\scriptsize [24.0000, 26.0000]}")
    assert rows[1].startswith(r"our\_50\%, te\_xt| & 3 &")
