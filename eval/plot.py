"""Line charts as one SVG that needs nothing from outside: axes, grid, curves, dots.

Colours follow the page (``currentColor``), so that a chart is legible on light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

Scale = Literal["linear", "count", "log2", "log10"]  # count: linear, marked at whole numbers
PALETTE = ("#3465b0", "#c8742d", "#3b8f6b", "#a63d6d", "#7a5cc0", "#8a8a8a", "#b08a1e", "#2b8aa8")
MOST_TICKS = 8


@dataclass(frozen=True, slots=True)
class Sheet:
    """The paper: its size, and the margins that the plot leaves."""

    width: int = 640
    height: int = 340
    left: int = 64
    right: int = 20
    top: int = 28
    bottom: int = 52


@dataclass(frozen=True, slots=True)
class Axes:
    """Numbers to places on a sheet. Limits are in units of the scale: exponents where it is logarithmic."""

    low: float
    high: float
    bottom: float
    top: float
    sheet: Sheet = field(default_factory=Sheet)
    across: Scale = "log2"
    up: Scale = "linear"

    @classmethod
    def around(
        cls,
        rates: Sequence[float],
        values: Sequence[float],
        *,
        sheet: Sheet | None = None,
        across: Scale = "log2",
        up: Scale = "linear",
    ) -> "Axes":
        """Limits that hold all points; numbers on a logarithmic axis are above 0."""
        low, high = _limits(rates, across, tight=True)
        bottom, top = _limits(values, up, tight=False)
        return cls(low, high, bottom, top, sheet or Sheet(), across, up)

    def x(self, rate: float) -> float:
        """A number to a column."""
        share = (_scaled(rate, self.across) - self.low) / (self.high - self.low)
        return self.sheet.left + share * (self.sheet.width - self.sheet.right - self.sheet.left)

    def y(self, value: float) -> float:
        """A number to a row."""
        share = (_scaled(value, self.up) - self.bottom) / (self.top - self.bottom)
        foot = self.sheet.height - self.sheet.bottom
        return foot - share * (foot - self.sheet.top)

    def grid(self, across: str, up: str) -> list[str]:
        """Lines with their numbers, and what the axes are."""
        found, sheet = [], self.sheet
        right, foot = sheet.width - sheet.right, sheet.height - sheet.bottom
        for value, text in ticks(self.low, self.high, self.across):
            x = self.x(value)
            found.append(_rule(x, sheet.top, x, foot))
            found.append(f'<text x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{text}</text>')
        for value, text in ticks(self.bottom, self.top, self.up):
            y = self.y(value)
            found.append(_rule(sheet.left, y, right, y))
            found.append(f'<text x="{sheet.left - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        middle = (sheet.left + right) / 2
        foot = sheet.height - 12
        found.append(f'<text x="{middle:.1f}" y="{foot}" text-anchor="middle">{escape(across)}</text>')
        found.append(f'<text x="14" y="{sheet.top - 12}">{escape(up)}</text>')
        return found

    def line(self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
        """A curve through points."""
        places = " ".join(f"{self.x(across):.1f},{self.y(up):.1f}" for across, up in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    def dot(self, across: float, up: float, colour: str, says: str) -> str:
        """A point that says what it is when the mouse rests on it."""
        x, y = self.x(across), self.y(up)
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(says)}</title></circle>'
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A named curve.

    Attributes:
        points: (across, up), in order; what is not finite, or has no logarithm where one is taken, is left out.
        says: a remark for each point, for the mouse; without it, no dots.
    """

    name: str
    points: Sequence[tuple[float, float]]
    says: Sequence[str] = ()
    dashed: bool = False


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    across: tuple[str, Scale],
    up: tuple[str, Scale],
    sheet: Sheet | None = None,
) -> str:
    """Curves with a legend beneath; each axis is its name and its scale."""
    sheet = sheet or Sheet()
    kept = [(curve, _drawable(curve, across[1], up[1])) for curve in curves]
    points = [point for _, found in kept for point, _ in found]
    if not points:
        return page_of(title, sheet, ['<text x="20" y="40">nothing was measured</text>'])
    rows = -(-len(kept) // 3)
    axes = Axes.around(
        [point[0] for point in points],
        [point[1] for point in points],
        sheet=sheet,
        across=across[1],
        up=up[1],
    )
    body = axes.grid(across[0], up[0])
    for number, (curve, found) in enumerate(kept):
        colour = PALETTE[number % len(PALETTE)]
        if found:
            body.append(axes.line([point for point, _ in found], colour, dashed=curve.dashed))
        body += [axes.dot(*point, colour, f"{curve.name}: {says}") for point, says in found if says]
        left, y = sheet.left + (number % 3) * 190, sheet.height + 14 + 18 * (number // 3)
        body.append(
            f'<line x1="{left}" y1="{y - 4}" x2="{left + 18}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{left + 26}" y="{y}">{escape(curve.name)}</text>'
        )
    return page_of(title, Sheet(sheet.width, sheet.height + 18 * rows + 8), body)


def bars(title: str, groups: Sequence[tuple[str, Sequence[float]]], *, across: str, up: str) -> str:
    """Values by place, one row of thin bars a group, from 0; ``up`` is what their height is."""
    sheet = Sheet()
    values = [value for _, found in groups for value in found if math.isfinite(value)]
    count = max((len(found) for _, found in groups), default=0)
    if not values or not count:
        return page_of(title, sheet, ['<text x="20" y="40">nothing was measured</text>'])
    axes = Axes.around([0.0, float(count)], [0.0, *values], sheet=sheet, across="linear", up="linear")
    axes = Axes(0.0, float(count), axes.bottom, axes.top, sheet, "linear", "linear")
    body, wide = axes.grid(across, up), (axes.x(1.0) - axes.x(0.0)) / max(1, len(groups))
    for row, (name, found) in enumerate(groups):
        colour = PALETTE[row % len(PALETTE)]
        for place, value in enumerate(found):
            if not math.isfinite(value):
                continue
            left, top, foot = (
                axes.x(float(place)) + row * wide,
                axes.y(max(value, 0.0)),
                axes.y(min(value, 0.0)),
            )
            says = escape(f"{name} {place}: {value:.4g}")
            body.append(
                f'<rect x="{left:.2f}" y="{top:.1f}" width="{max(wide - 0.5, 0.4):.2f}" '
                f'height="{max(foot - top, 0.5):.1f}" fill="{colour}"><title>{says}</title></rect>'
            )
    return page_of(title, sheet, body)


def page_of(title: str, sheet: Sheet, body: Sequence[str]) -> str:
    """The whole SVG."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {sheet.width} {sheet.height}" width="100%" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor" stroke="none">\n'
        f"<title>{escape(title)}</title>\n" + "\n".join(body) + "\n</svg>\n"
    )


def ticks(low: float, high: float, scale: Scale) -> list[tuple[float, str]]:
    """Round numbers between two limits, given in units of the scale, with how they are written."""
    if not _is_log(scale):
        step = _round_step((high - low) / MOST_TICKS)
        step = max(step, 1.0) if scale == "count" else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]
    if scale == "log10" and high - low < 2.0:
        found = [
            factor * 10.0**power for power in range(math.floor(low), math.ceil(high)) for factor in (1, 2, 5)
        ]
        return [(value, f"{value:g}") for value in found if low <= math.log10(value) <= high]
    base = 2.0 if scale == "log2" else 10.0
    every = max(1, math.ceil((high - low) / (2 * MOST_TICKS)))
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, every)
    return [(base**power, _power(power, scale)) for power in powers]


def _limits(values: Sequence[float], scale: Scale, *, tight: bool) -> tuple[float, float]:
    low, high = _scaled(min(values), scale), _scaled(max(values), scale)
    if _is_log(scale):
        return low - 0.3, max(high, low + 0.5) + 0.3
    if tight:
        return low, high if high > low else low + 1.0
    step = _round_step(max(high - low, 1e-9 * max(1.0, abs(high))) / MOST_TICKS)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return bottom, top if top > bottom else bottom + step


def _round_step(wanted: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is at least ``wanted``."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= wanted * (1 - 1e-9))


def _is_log(scale: Scale) -> bool:
    return scale in ("log2", "log10")


def _scaled(value: float, scale: Scale) -> float:
    if not _is_log(scale):
        return value
    return math.log2(value) if scale == "log2" else math.log10(value)


def _drawable(curve: Curve, across: Scale, up: Scale) -> list[tuple[tuple[float, float], str]]:
    says = curve.says or [""] * len(curve.points)
    return [
        ((x, y), text)
        for (x, y), text in zip(curve.points, says, strict=True)
        if math.isfinite(x)
        and math.isfinite(y)
        and (x > 0 or not _is_log(across))
        and (y > 0 or not _is_log(up))
    ]


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
        'stroke-opacity="0.15"/>'
    )


def _power(power: int, scale: Scale) -> str:
    if scale == "log10":
        return f"{10.0**power:g}"
    return str(2**power) if power >= 0 else f"1/{2**-power}"
