"""Rate and distortion as one SVG that needs nothing from outside."""

import math
from collections.abc import Sequence
from html import escape

from eval.compare.record import Comparison, Point
from eval.plot import Axes, Sheet, page_of

LEGEND = 270
SHEET = Sheet(width=980, height=560, left=64, right=LEGEND, top=24, bottom=52)
TITLE = "PSNR over bits per pixel"
COLOURS = {"floor": "#8a8a8a", "jpeg": "#c8742d", "webp": "#3b8f6b", "avif": "#7a5cc0"}
TITLES = {"floor": "floor", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}
CONTINUOUS, DISCRETE = "#3465b0", "#a63d6d"
LINE = 15


def rate_distortion(comparison: Comparison) -> str:
    """PSNR over bits per pixel: curves of the references, a numbered point for every member."""
    points = []
    for row in comparison.members:
        numbers = row.numbers.values
        if row.status == "done" and math.isfinite(numbers.get("psnr", math.nan)):
            discrete = "codebook_size" in numbers
            points.append((row.label, numbers["bits_per_pixel"], numbers["psnr"], discrete))
    points.sort(key=lambda point: (point[1], -point[2]))
    rates, values = [point[1] for point in points], [point[2] for point in points]
    curves = {name: _near(curve, rates) for name, curve in comparison.curves.items()}
    everything = [point for curve in curves.values() for point in curve]
    rates += [point.bits_per_pixel for point in everything]
    values += [point.psnr for point in everything]
    if not rates:
        return page_of(TITLE, SHEET, ['<text x="20" y="40">nothing was measured</text>'])
    axes = Axes.around(rates, values, sheet=SHEET)
    body = axes.grid("bits per pixel", "PSNR in dB")
    body += [
        axes.line([(point.bits_per_pixel, point.psnr) for point in curve], COLOURS[name])
        for name, curve in curves.items()
        if curve
    ]
    body += _points(axes, points)
    body += _legend([name for name, curve in curves.items() if curve], points)
    return page_of(TITLE, SHEET, body)


def _near(curve: Sequence[Point], rates: Sequence[float]) -> list[Point]:
    """The part of a curve about the members: within eight times their rates."""
    if not rates:
        return list(curve)
    low, high = min(rates) / 8, max(rates) * 8
    return [
        point
        for point in sorted(curve, key=lambda point: point.bits_per_pixel)
        if low <= point.bits_per_pixel <= high and math.isfinite(point.psnr)
    ]


def _points(axes: Axes, points: Sequence[tuple[str, float, float, bool]]) -> list[str]:
    """Dots, and their numbers beside them, moved down where they would lie on one another."""
    found, placed = [], list[tuple[float, float]]()
    for number, (label, rate, value, discrete) in enumerate(points, start=1):
        x, y = axes.x(rate), axes.y(value)
        says = f"{label}: {value:.2f} dB at {rate:.3f} bits per pixel"
        found.append(axes.dot(rate, value, _colour(discrete), says))
        near = [other for left, other in placed if abs(left - x) < 24]
        place = y + 4
        while any(abs(place - other) < 12 for other in near):
            place += 1
        placed.append((x, place))
        found.append(f'<text x="{x + 8:.1f}" y="{place:.1f}" font-size="11">{number}</text>')
    return found


def _legend(curves: Sequence[str], points: Sequence[tuple[str, float, float, bool]]) -> list[str]:
    left, found = SHEET.width - LEGEND + 24, []
    size = min(12.0, 12.0 * (SHEET.height - SHEET.top - 20) / max(1, LINE * (len(points) + len(curves) + 3)))
    line, y = LINE * size / 12, SHEET.top + 4.0
    for name in curves:
        found.append(
            f'<line x1="{left}" y1="{y - 4:.1f}" x2="{left + 18}" y2="{y - 4:.1f}" stroke="{COLOURS[name]}" '
            f'stroke-width="2"/><text x="{left + 26}" y="{y:.1f}" font-size="{size:.1f}">{TITLES[name]}</text>'
        )
        y += line
    for discrete, name in ((False, "continuous"), (True, "discrete")):
        found.append(
            f'<circle cx="{left + 9}" cy="{y - 4:.1f}" r="4" fill="{_colour(discrete)}"/>'
            f'<text x="{left + 26}" y="{y:.1f}" font-size="{size:.1f}">{name}</text>'
        )
        y += line
    y += line / 2
    for number, (label, _, value, _) in enumerate(points, start=1):
        found.append(
            f'<text x="{left}" y="{y:.1f}" font-size="{size:.1f}">{number}  {escape(label)}, {value:.2f} dB</text>'
        )
        y += line
    return found


def _colour(discrete: bool) -> str:
    return DISCRETE if discrete else CONTINUOUS
