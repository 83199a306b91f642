"""Two pictures, as SVG text: bars of throughput, and rates before and after a snapshot is held."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from bench.report import short

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 150, 150, 50, 40
_BAR, _GAP = 26, 12
# Told apart by those who see few colours too (Okabe and Ito).
_COLOURS = ("#d55e00", "#e69f00", "#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#999999", "#333333")

Point = tuple[float, float]
Series = Sequence[Point]


def bars(title: str, values: Mapping[str, Sequence[float]]) -> str:
    """A bar for each, as long as the median, with a line from the lowest to the highest."""
    shown = {name: each for name, each in values.items() if each}
    longest = max((max(each) for each in shown.values()), default=1.0)
    scale = (_WIDTH - _LEFT - _RIGHT) / longest

    def parts() -> Iterator[str]:
        for row, (name, each) in enumerate(shown.items()):
            y, middle = _TOP + row * (_BAR + _GAP), statistics.median(each)
            yield _text(_LEFT - 8, y + _BAR * 0.7, name, "end")
            yield f'<rect x="{_LEFT}" y="{y}" width="{middle * scale:.1f}" height="{_BAR}" fill="{_COLOURS[row % len(_COLOURS)]}"/>'
            yield _line((_LEFT + min(each) * scale, y + _BAR / 2), (_LEFT + max(each) * scale, y + _BAR / 2), "#000")
            yield _text(_LEFT + max(each) * scale + 8, y + _BAR * 0.7, short(middle))

    return _picture(title, parts(), _TOP + len(shown) * (_BAR + _GAP) + _GAP)


def lines(title: str, series: Mapping[str, Series], across: str) -> str:
    """A line for each, by seconds, on a logarithmic scale; zero is where something begins."""
    shown = {name: [(x, y) for x, y in each if y > 0] for name, each in series.items()}
    points = [point for each in shown.values() for point in each]
    first, last = min((x for x, _ in points), default=0.0), max((x for x, _ in points), default=1.0)
    low, high = _decades(y for _, y in points)
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(x: float) -> float:
        return _LEFT + (x - first) / ((last - first) or 1) * wide

    def y_of(y: float) -> float:
        return _TOP + (high - math.log10(y)) / (high - low) * tall

    def parts() -> Iterator[str]:
        for decade in range(low, high + 1):
            yield _line((_LEFT, y_of(10**decade)), (_LEFT + wide, y_of(10**decade)), "#ddd")
            yield _text(_LEFT - 8, y_of(10**decade) + 4, f"{10**decade:,}".replace(",", " "), "end")
        yield _line((x_of(0), _TOP), (x_of(0), _TOP + tall), "#888")
        yield _text(x_of(0) + 4, _TOP + tall - 6, across)
        yield _text(_LEFT + wide, _HEIGHT - 12, f"{last:.0f} s later", "end")
        for row, (name, each) in enumerate((name, each) for name, each in shown.items() if each):
            colour = _COLOURS[row % len(_COLOURS)]
            path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in each)
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            beside, y = _LEFT + wide + 12, _TOP + 18 * row + 6
            yield _line((beside, y), (beside + 20, y), colour, 3)
            yield _text(beside + 26, y + 4, name)

    return _picture(title, parts(), _HEIGHT)


def _decades(values: Iterable[float]) -> tuple[int, int]:
    logs = [math.log10(each) for each in values]
    low, high = math.floor(min(logs, default=0)), math.ceil(max(logs, default=1))
    return low, max(high, low + 1)


def _line(begin: Point, end: Point, colour: str, width: float = 1) -> str:
    (x, y), (to_x, to_y) = begin, end
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, parts: Iterable[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" font-family="sans-serif" font-size="13">'
    ground = f'<rect width="{_WIDTH}" height="{height:g}" fill="#fff"/>'
    heading = f'<text x="{_WIDTH / 2}" y="26" text-anchor="middle" font-size="16">{escape(title)}</text>'
    return "\n".join((head, f"<title>{escape(title)}</title>", ground, heading, *parts, "</svg>\n"))
