"""Rate and distortion as one SVG that needs nothing from outside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from eval.compare.record import Comparison, Point

WIDTH, HEIGHT = 980, 560
LEFT, TOP, BOTTOM, LEGEND = 64, 24, 52, 270
COLOURS = {"floor": "#8a8a8a", "jpeg": "#c8742d", "webp": "#3b8f6b"}
TITLES = {"floor": "floor", "jpeg": "JPEG", "webp": "WebP"}
CONTINUOUS, DISCRETE = "#3465b0", "#a63d6d"
LINE = 15


@dataclass(frozen=True, slots=True)
class Axes:
    """Bits per pixel (logarithmic) and dB to places on the sheet."""

    low: float
    high: float
    bottom: float
    top: float

    @classmethod
    def around(cls, rates: Sequence[float], values: Sequence[float]) -> "Axes":
        """Round limits that hold all points."""
        low, high = math.log2(min(rates)), math.log2(max(rates))
        bottom, top = math.floor(min(values)), math.ceil(max(values))
        return cls(low - 0.3, max(high, low + 0.5) + 0.3, bottom, max(top, bottom + 1))

    def x(self, rate: float) -> float:
        """Bits per pixel to a column."""
        share = (math.log2(rate) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEGEND - LEFT)

    def y(self, value: float) -> float:
        """dB to a row."""
        share = (value - self.bottom) / (self.top - self.bottom)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


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
        return _sheet(['<text x="20" y="40">nothing was measured</text>'])
    axes = Axes.around(rates, values)
    body = _grid_lines(axes)
    body += [_curve(axes, name, curve) for name, curve in curves.items() if curve]
    body += _points(axes, points)
    body += _legend([name for name, curve in curves.items() if curve], points)
    return _sheet(body)


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


def _sheet(body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor" stroke="none">\n'
        "<title>PSNR over bits per pixel</title>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _grid_lines(axes: Axes) -> list[str]:
    found = []
    right, foot = WIDTH - LEGEND, HEIGHT - BOTTOM
    for power in range(math.ceil(axes.low), math.floor(axes.high) + 1):
        x = axes.x(2.0**power)
        found.append(_line(x, TOP, x, foot))
        found.append(f'<text x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{_power(power)}</text>')
    step = max(1, round((axes.top - axes.bottom) / 8))
    for value in range(int(axes.bottom), int(axes.top) + 1, step):
        y = axes.y(value)
        found.append(_line(LEFT, y, right, y))
        found.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    middle = (LEFT + right) / 2
    found.append(f'<text x="{middle:.1f}" y="{HEIGHT - 12}" text-anchor="middle">bits per pixel</text>')
    found.append(f'<text x="14" y="{TOP - 8}">PSNR in dB</text>')
    return found


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
        'stroke-opacity="0.15"/>'
    )


def _power(power: int) -> str:
    return str(2**power) if power >= 0 else f"1/{2**-power}"


def _curve(axes: Axes, name: str, curve: Sequence[Point]) -> str:
    places = " ".join(f"{axes.x(point.bits_per_pixel):.1f},{axes.y(point.psnr):.1f}" for point in curve)
    return f'<polyline points="{places}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'


def _points(axes: Axes, points: Sequence[tuple[str, float, float, bool]]) -> list[str]:
    """Dots, and their numbers beside them, moved down where they would lie on one another."""
    found, placed = [], list[tuple[float, float]]()
    for number, (label, rate, value, discrete) in enumerate(points, start=1):
        x, y = axes.x(rate), axes.y(value)
        says = escape(f"{label}: {value:.2f} dB at {rate:.3f} bits per pixel")
        found.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_colour(discrete)}"><title>{says}</title></circle>'
        )
        near = [other for left, other in placed if abs(left - x) < 24]
        place = y + 4
        while any(abs(place - other) < 12 for other in near):
            place += 1
        placed.append((x, place))
        found.append(f'<text x="{x + 8:.1f}" y="{place:.1f}" font-size="11">{number}</text>')
    return found


def _legend(curves: Sequence[str], points: Sequence[tuple[str, float, float, bool]]) -> list[str]:
    left, found = WIDTH - LEGEND + 24, []
    size = min(12.0, 12.0 * (HEIGHT - TOP - 20) / max(1, LINE * (len(points) + len(curves) + 3)))
    line, y = LINE * size / 12, TOP + 4.0
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
