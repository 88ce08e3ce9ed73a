"""Tables, chart and page of curves."""

import csv
import io

import torch

from eval.curve import tables
from eval.curve.record import CurveReport


def test_markdown_says_whether_quality_falls(report: CurveReport) -> None:
    text = tables.markdown(report)
    assert "`rising`: PSNR never falls with more tokens." in text
    assert "`falling`: PSNR falls from 8 to 16 tokens." in text
    assert "`<lost>`: not measured. it was not trained" in text
    assert "| 16 | 0.2500 | 21.00 | 0.0020 |" in text
    assert "| 20 | 75 % | 8, 16 | 12 | 0.1875 | 20.50 | 0.0020 |" in text
    assert "| `fixed` | 16 | 0.2500 | 20.00 |" in text


def test_the_chart_holds_curves_points_and_the_near_part_of_references(report: CurveReport) -> None:
    svg = tables.rate_quality(report)
    for name in ("rising", "rising, by quality", "falling", "fixed", "floor"):
        assert f">{name}</text>" in svg
    assert "&lt;lost&gt;" not in svg
    assert svg.count("<circle") == 2 + 1 + 3 + 1
    assert ">50</text>" not in svg  # the floor at 40 bits per pixel is far from every member


def test_csv_has_every_point(report: CurveReport) -> None:
    lines = list(csv.DictReader(io.StringIO(tables.csv_text(report))))
    assert [(line["tokenizer"], line["kind"], line["tokens"]) for line in lines] == [
        ("rising", "count", "8"),
        ("rising", "count", "16"),
        ("rising", "quality", "12"),
        ("falling", "count", "8"),
        ("falling", "count", "16"),
        ("falling", "count", "24"),
        ("fixed", "fixed", "16"),
    ]
    assert lines[2]["reached"] == "0.75"


def test_the_page_shows_every_number_of_tokens(report: CurveReport) -> None:
    shown = {"rising": {16: torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 8: torch.ones(2, 3, 32, 32).byte()}}
    html = tables.page(report, torch.full((2, 3, 32, 32), 200, dtype=torch.uint8), shown)
    assert html.index("8 tokens, 19.00 dB") < html.index("16 tokens, 21.00 dB")
    assert html.count("data:image/png") == 3
    assert "<svg" in html
    assert "<lost>" not in html


def test_the_summary_is_a_line_a_member(report: CurveReport) -> None:
    assert tables.summary(report).splitlines() == [
        "rising   dB by tokens: 8: 19.00, 16: 21.00",
        "falling  dB by tokens: 8: 19.00, 16: 18.00, 24: 19.50",
        "<lost>   it was not trained",
    ]
