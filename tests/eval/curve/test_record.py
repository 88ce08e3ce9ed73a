"""The record: where quality falls with more tokens, and JSON and back."""

import json

from eval.curve.record import CurveReport


def test_a_fall_names_its_numbers_of_tokens(report: CurveReport) -> None:
    assert [row.falls for row in report.members] == [[], [(8, 16)], []]


def test_it_comes_back_from_json(report: CurveReport) -> None:
    assert CurveReport.parse(json.loads(report.to_text())) == report
