"""Markdown of a report."""

from eval.serving.record import Table
from eval.serving.tables import markdown, rows_of
from tests.eval.serving.test_record import part, report


def test_tables_claims_and_origin() -> None:
    text = markdown(report(part(), part(part="soak", commit="other")))
    assert "| x\\|y | 1.23 |" in text
    assert "| fast <b> | 1 ms | yes |" in text
    assert "`python -m eval.serving smoke`, commit abc." in text
    assert "Nothing is pinned." in text
    assert text.count("Measured at commit other.") == 1
    assert text.count("Why.") == 2


def test_numbers_stand_to_the_right_and_text_to_the_left() -> None:
    table = Table(title="t", columns=("name", "n", "mixed"), rows=(("a", 1.0, "x"), ("b", None, 2.0)))
    assert rows_of(table)[1] == "| --- | ---: | --- |"
    assert all(line.count("|") == 4 for line in rows_of(table))


def test_an_empty_report() -> None:
    assert "What it must show" not in markdown(report())
