"""Charts are well-formed, need nothing from outside, and put numbers where they belong."""

import math
from xml.etree import ElementTree

import pytest

from eval.plot import Axes, Curve, Sheet, bars, chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_ticks_are_round_and_within() -> None:
    assert [text for _, text in ticks(0.0, 10.0, "linear")] == ["0", "2", "4", "6", "8", "10"]
    assert [text for _, text in ticks(-1.0, 2.0, "log2")] == ["1/2", "1", "2", "4"]
    assert [value for value, _ in ticks(-2.0, 1.0, "log10")] == pytest.approx([0.01, 0.1, 1.0, 10.0])
    assert [text for _, text in ticks(0.25, 0.28, "linear")][:2] == ["0.250", "0.255"]
    assert [text for _, text in ticks(1.0, 5.0, "count")] == ["1", "2", "3", "4", "5"]
    assert [text for _, text in ticks(-0.2, 0.8, "log10")] == ["1", "2", "5"]


def test_each_scale_is_even_in_its_own_way() -> None:
    axes = Axes.around([1.0, 100.0], [0.0, 50.0], across="log10")
    assert axes.x(10.0) - axes.x(1.0) == pytest.approx(axes.x(100.0) - axes.x(10.0))
    axes = Axes.around([0.0, 4.0], [1.0, 16.0], across="linear", up="log2")
    assert axes.x(0.0) == axes.sheet.left
    assert axes.x(4.0) == axes.sheet.width - axes.sheet.right
    assert axes.y(1.0) - axes.y(4.0) == pytest.approx(axes.y(4.0) - axes.y(16.0))
    assert Axes.around([3.0], [7.0], across="linear").y(7.0) > 0  # a single point has axes too


def test_a_chart_draws_every_curve_and_names_it() -> None:
    curves = [
        Curve("ours <b>", [(0.1, 20.0), (1.0, 30.0)], ["one", "two"]),
        Curve("JPEG", [(0.5, 25.0), (2.0, 31.0)], dashed=True),
    ]
    root = drawn(chart("t", curves, across=("bits per pixel", "log2"), up=("PSNR", "linear")))
    lines = list(root.iter(f"{SVG}polyline"))
    assert len(lines) == 2
    assert [line.get("stroke-dasharray") is not None for line in lines] == [False, True]
    first = [tuple(map(float, place.split(","))) for place in str(lines[0].get("points")).split()]
    assert first[0][0] < first[1][0]
    assert first[0][1] > first[1][1]  # more is higher
    assert [dot.findtext(f"{SVG}title") for dot in root.iter(f"{SVG}circle")] == [
        "ours <b>: one",
        "ours <b>: two",
    ]
    written = " ".join("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
    for shown in ("ours <b>", "JPEG", "bits per pixel", "PSNR"):
        assert shown in written
    height = float(str(root.get("viewBox")).split()[3])
    assert height > max(float(str(text.get("y"))) for text in root.iter(f"{SVG}text"))


def test_what_cannot_be_drawn_is_left_out() -> None:
    points = [(0.0, 1.0), (1.0, math.inf), (2.0, math.nan), (4.0, 5.0), (8.0, 6.0)]
    text = chart("t", [Curve("a", points)], across=("x", "log2"), up=("y", "linear"))
    (line,) = drawn(text).iter(f"{SVG}polyline")
    assert len(str(line.get("points")).split()) == 2
    assert "inf" not in text
    assert "nothing was measured" in chart("t", [Curve("a", [])], across=("x", "log2"), up=("y", "linear"))


def test_bars_stand_on_zero() -> None:
    root = drawn(bars("t", [("std", [1.0, 0.5, 2.0]), ("mean", [-1.0, 0.0, math.nan])], across="c", up="v"))
    found = list(root.iter(f"{SVG}rect"))
    assert len(found) == 5
    heights = [float(str(bar.get("height"))) for bar in found[:3]]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.2)
    foot = float(str(found[0].get("y"))) + heights[0]
    assert float(str(found[3].get("y"))) == pytest.approx(foot, abs=0.2)  # a negative bar hangs from it
    assert "nothing was measured" in bars("t", [], across="c", up="v")


def test_nothing_comes_from_outside() -> None:
    text = chart(
        "<script>", [Curve("a", [(1.0, 1.0)])], across=("x", "log2"), up=("y", "linear"), sheet=Sheet()
    )
    assert "<script>" not in text
    for word in ("url(", "<image", "href", "@import"):
        assert word not in text
