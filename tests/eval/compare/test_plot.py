"""The plot is well-formed, needs nothing from outside, and puts numbers where they belong."""

import math
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from eval.compare.plot import Axes, rate_distortion
from eval.compare.record import Comparison

SVG = "{http://www.w3.org/2000/svg}"
Make = Callable[..., Comparison]


def test_axes_are_logarithmic_across_and_linear_up() -> None:
    axes = Axes.around([0.5, 8.0], [20.0, 30.0])
    assert axes.x(2.0) - axes.x(1.0) == pytest.approx(axes.x(4.0) - axes.x(2.0))
    assert axes.y(30) < axes.y(25) < axes.y(20)
    assert axes.y(20) - axes.y(25) == pytest.approx(axes.y(25) - axes.y(30))


def test_every_measured_member_is_a_point_and_every_reference_a_curve(comparison: Make) -> None:
    made = comparison()
    text = rate_distortion(made)
    root = ElementTree.fromstring(text)
    dots = [dot for dot in root.iter(f"{SVG}circle") if dot.find(f"{SVG}title") is not None]
    titles = [str(dot.findtext(f"{SVG}title")) for dot in dots]
    assert titles == ["codes: 24.00 dB at 0.625 bits per pixel", "plain: 28.50 dB at 4.000 bits per pixel"]
    assert len(list(root.iter(f"{SVG}polyline"))) == 2
    codes, plain = ((float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in dots)
    assert codes[0] < plain[0]
    assert codes[1] > plain[1]  # lower on the sheet
    written = " ".join("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
    for shown in ("bits per pixel", "PSNR in dB", "floor", "JPEG", "1  codes, 24.00 dB", "1/2", "discrete"):
        assert shown in written


def test_nothing_comes_from_outside(comparison: Make) -> None:
    text = rate_distortion(comparison()).replace('xmlns="http://www.w3.org/2000/svg"', "")
    for word in ("http", "url(", "<script", "<image", "href", "@import"):
        assert word not in text


def test_numbers_do_not_lie_on_one_another(comparison: Make) -> None:
    made = comparison()
    crowd = tuple(made.members[0].model_copy(update={"label": f"m{index}"}) for index in range(12))
    root = ElementTree.fromstring(rate_distortion(made.model_copy(update={"members": crowd})))
    places = sorted(
        float(text.get("y", ""))
        for text in root.iter(f"{SVG}text")
        if (text.text or "").isdecimal() and text.get("font-size") == "11"
    )
    assert len(places) == 12
    assert min(second - first for first, second in zip(places, places[1:], strict=False)) >= 11.9


def test_names_cannot_write_markup_and_infinity_has_no_place(comparison: Make) -> None:
    made = comparison()
    first = made.members[0]
    values = first.numbers.model_copy(update={"values": first.numbers.values | {"psnr": math.inf}})
    members = (
        first.model_copy(update={"numbers": values}),
        made.members[1].model_copy(update={"label": "<script>"}),
    )
    text = rate_distortion(made.model_copy(update={"members": members}))
    assert "<script>" not in text
    assert "inf" not in text
    assert "plain" not in text


def test_nothing_measured(comparison: Make) -> None:
    assert "nothing was measured" in rate_distortion(comparison(members=(), references=(), curves={}))
