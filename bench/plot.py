"""A curve as SVG, with both axes logarithmic: a straight line that climbs at 45 degrees is linear, a level one does not depend on it."""

from __future__ import annotations

import math
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 40, 50

Series = dict[str, list[tuple[float, float]]]
"""By what was measured: pairs of how much there was and how long it took."""

# Colours that are told apart on white and on black, also by whoever sees no red or no green.
_STYLE = """\
text { fill: #24292f } .paper { fill: #fff } .grid { stroke: #d8dee4 }
.c0 { --c: #0072b2 } .c1 { --c: #d55e00 } .c2 { --c: #00805f } .c3 { --c: #a3478a } .c4 { --c: #8a6d00 }
polyline { fill: none; stroke: var(--c); stroke-width: 2 } circle, text.name { fill: var(--c) }
@media (prefers-color-scheme: dark) {
text { fill: #d0d7de } .paper { fill: #0d1117 } .grid { stroke: #30363d }
.c0 { --c: #56b4e9 } .c1 { --c: #ff9a3c } .c2 { --c: #2fc79a } .c3 { --c: #e08ac4 } .c4 { --c: #e6cf4a } }"""


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
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle"),
        _text(12, TOP - 4, up),
    ]
    for power in range(xs[0], xs[1] + 1):
        x, _ = at(10.0**power, 10.0 ** ys[0])
        name = "0" if power == xs[0] and any(x <= 0 for x, _ in pairs) else _power(power)
        out += [_line(x, TOP, x, HEIGHT - BOTTOM), _text(x, HEIGHT - BOTTOM + 16, name, "middle")]
    for power in range(ys[0], ys[1] + 1):
        _, y = at(10.0 ** xs[0], 10.0**power)
        out += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 6, y + 4, _power(power), "end")]
    for number, (name, line) in enumerate(series.items()):
        points = [at(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<g class="c{number % 5}"><polyline points="{path}"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
        out.append(
            f'<text class="name" x="{WIDTH - RIGHT + 10}" y="{TOP + 14 + 18 * number}">{escape(name)}</text></g>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"


def exponents(series: Series) -> dict[str, float]:
    """With what power of the amount each grows over the last decade that was measured: 0 is flat, 1 linear, 2 quadratic.

    Of a line with fewer than two points above zero there is none.
    """
    found = {}
    for name, line in series.items():
        real = [(x, y) for x, y in line if x > 0 and y > 0]
        if len(real) < 2:
            continue
        (x1, y1) = real[-1]
        (x0, y0) = max((pair for pair in real[:-1] if pair[0] <= x1 / 10), default=real[-2])
        found[name] = round(math.log(y1 / y0) / math.log(x1 / x0), 2)
    return found


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


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
