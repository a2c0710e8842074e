"""A curve as SVG, with both axes logarithmic: a straight line that climbs at 45 degrees is linear, a level one does not depend on it."""

from __future__ import annotations

import math
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d98200")

Series = dict[str, list[tuple[float, float]]]
"""By what was measured: pairs of how much there was and how long it took."""


def svg(title: str, across: str, up: str, series: Series) -> str:
    """Zeros are drawn at the lowest power of ten that is shown: a logarithm has no zero."""
    pairs = [pair for line in series.values() for pair in line]
    xs, ys = _powers([x for x, _ in pairs]), _powers([y for _, y in pairs])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + _share(x, xs) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - _share(y, ys) * (HEIGHT - TOP - BOTTOM),
        )

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle"),
        _text(12, TOP - 8, up),
    ]
    for power in range(xs[0], xs[1] + 1):
        x, _ = at(10.0**power, 10.0 ** ys[0])
        out += [_line(x, TOP, x, HEIGHT - BOTTOM), _text(x, HEIGHT - BOTTOM + 16, _power(power), "middle")]
    for power in range(ys[0], ys[1] + 1):
        _, y = at(10.0 ** xs[0], 10.0**power)
        out += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 6, y + 4, _power(power), "end")]
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [at(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        out.append(_text(WIDTH - RIGHT + 10, TOP + 14 + 18 * number, name, colour=colour))
    return "\n".join([*out, "</svg>"]) + "\n"


def _powers(numbers: list[float]) -> tuple[int, int]:
    """The powers of ten around them."""
    real = [x for x in numbers if x > 0] or [1.0]
    low, high = math.floor(math.log10(min(real))), math.ceil(math.log10(max(real)))
    if any(x <= 0 for x in numbers):
        low -= 1
    return low, max(high, low + 1)


def _share(number: float, powers: tuple[int, int]) -> float:
    low, high = powers
    return 0.0 if number <= 0 else (math.log10(number) - low) / (high - low)


def _power(power: int) -> str:
    return f"{10**power:,}" if 0 <= power < 7 else f"{10.0**power:g}"


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
