"""A curve as SVG, with both axes logarithmic: a line that climbs as the dashed one is linear, a level one does not depend on the amount."""

from __future__ import annotations

import math
import statistics
from html import escape

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 80, 230, 64, 62
_APART = 38
"""Of two names at the right, from line to line: a name has two."""

Series = dict[str, list[tuple[float, list[float]]]]
"""By what was measured: how much there was, and the seconds that it took, each time."""

# Colours that are told apart on white and on black, also by whoever sees no red or no green. No variables: not every program knows them.
_LIGHT = ("#0072b2", "#d55e00", "#00805f", "#a3478a", "#8a6d00")
_DARK = ("#56b4e9", "#ff9a3c", "#2fc79a", "#e08ac4", "#e6cf4a")


def _style() -> str:
    def colours(of: tuple[str, ...]) -> str:
        return " ".join(f".s{n} {{ stroke: {colour} }} .f{n} {{ fill: {colour} }}" for n, colour in enumerate(of))

    return f"""\
text {{ fill: #24292f }} .small {{ fill: #57606a; font-size: 11px }} .paper {{ fill: #fff }} .grid {{ stroke: #d8dee4 }}
.fine {{ stroke: #eff2f5 }}
.linear {{ stroke: #8c959f; stroke-dasharray: 5 5 }} .line {{ fill: none; stroke-width: 2.2; stroke-linejoin: round }}
.spread {{ stroke-width: 1.4 }}
.leader {{ stroke-width: 0.8 }} {colours(_LIGHT)}
@media (prefers-color-scheme: dark) {{
text {{ fill: #d0d7de }} .small {{ fill: #8b949e }} .paper {{ fill: #0d1117 }} .grid {{ stroke: #30363d }} .fine {{ stroke: #1a2028 }}
.linear {{ stroke: #6e7681 }} {colours(_DARK)} }}"""


def svg(title: str, across: str, series: Series, about: str = "") -> str:
    """Points are medians, bars go from the least to the most. Zeros are drawn where the axis begins: a logarithm has no zero.

    across: what there is more and more of. about: a line of small print.
    """
    amounts = [x for line in series.values() for x, _ in line]
    seconds = [y for line in series.values() for _, ys in line for y in ys]
    xs, ys = _powers(amounts), _powers(seconds)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + _share(x, xs) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - _share(y, ys) * (HEIGHT - TOP - BOTTOM),
        )

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f"<style>{_style()}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="{LEFT}" y="26" font-size="18">{escape(title)}</text>',
        _text(
            LEFT,
            46,
            f"time, logarithmic; points are medians, bars from the least to the most; slopes are of the last decade{about}",
            kind="small",
        ),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, f"{across} (logarithmic)", "middle"),
    ]
    out += _grid(at, xs, ys, zero=any(x <= 0 for x in amounts))
    out += _linear(xs, ys, at)
    powers = exponents(series)
    ends = [at(line[-1][0], statistics.median(line[-1][1]))[1] for line in series.values()]
    names = _apart(ends)
    for number, (name, line) in enumerate(series.items()):
        out += _curve(
            number % len(_LIGHT), [(at(x, statistics.median(y)), at(x, min(y)), at(x, max(y))) for x, y in line]
        )
        beside, height = at(line[-1][0], 1.0)[0], names[number]
        colour = number % len(_LIGHT)
        out.append(
            f'<line class="leader s{colour}" x1="{beside + 6:.1f}" y1="{ends[number]:.1f}" x2="{WIDTH - RIGHT + 14}" y2="{height:.1f}"/>'
        )
        out.append(_text(WIDTH - RIGHT + 18, height + 4, name, kind=f"f{colour}"))
        if name in powers:
            out.append(_text(WIDTH - RIGHT + 18, height + 19, said_of(powers[name]), kind="small"))
    return "\n".join([*out, "</svg>"]) + "\n"


def exponents(series: Series) -> dict[str, float]:
    """With what power of the amount each grows over the last decade that was measured: 0 is flat, 1 linear, 2 quadratic.

    Of medians. Of a line with fewer than two points above zero there is none.
    """
    found = {}
    for name, line in series.items():
        real = [(x, y) for x, y in ((x, statistics.median(ys)) for x, ys in line) if x > 0 and y > 0]
        if len(real) < 2:
            continue
        (x1, y1) = real[-1]
        (x0, y0) = max((pair for pair in real[:-1] if pair[0] <= x1 / 10), default=real[-2])
        found[name] = round(math.log(y1 / y0) / math.log(x1 / x0), 2)
    return found


def said_of(power: float) -> str:
    """What a slope means, in words."""
    if power < 0.15:
        word = "flat"
    elif power < 0.85:
        word = "less than linear"
    elif power <= 1.15:
        word = "linear"
    else:
        word = "more than linear"
    # A falling line is one that varies: nothing is faster because there is more of it.
    return f"{word}: slope {power + 0.0:.2f}"


def _curve(colour: int, points: list[tuple[tuple[float, float], ...]]) -> list[str]:
    """points: the median, the least and the most of each."""
    path = " ".join(f"{x:.1f},{y:.1f}" for (x, y), _, _ in points)
    out = [f'<polyline class="line s{colour}" points="{path}"/>']
    for (x, y), (_, low), (_, high) in points:
        if low - high > 1:
            out.append(f'<path class="spread s{colour}" d="M{x - 4:.1f} {low:.1f}h8m-4 0V{high:.1f}m-4 0h8"/>')
        out.append(f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
    return out


def _grid(at: object, xs: tuple[int, int], ys: tuple[int, int], *, zero: bool) -> list[str]:
    assert callable(at)
    fine, coarse = [], []
    bottom, top, right = HEIGHT - BOTTOM, TOP, WIDTH - RIGHT
    for power in range(xs[0], xs[1] + 1):
        x, _ = at(10.0**power, 1.0)
        name = "0" if zero and power == xs[0] else f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
        coarse += [_line(x, top, x, bottom), _text(x, bottom + 18, name, "middle")]
    for power in range(ys[0], ys[1] + 1):
        _, y = at(1.0, 10.0**power)
        coarse += [_line(LEFT, y, right, y), _text(LEFT - 8, y + 4, _duration(power), "end")]
        if power < ys[1]:
            fine += [_line(LEFT, y2, right, y2, "fine") for n in range(2, 10) for _, y2 in [at(1.0, n * 10.0**power)]]
    return fine + coarse


def _linear(xs: tuple[int, int], ys: tuple[int, int], at: object) -> list[str]:
    """The dashed line: as long as the narrower axis allows, from the lower left."""
    assert callable(at)
    decades = min(xs[1] - xs[0], ys[1] - ys[0])
    (x1, y1), (x2, y2) = at(10.0 ** xs[0], 10.0 ** ys[0]), at(10.0 ** (xs[0] + decades), 10.0 ** (ys[0] + decades))
    beside = (x2 + 2, y2 + 14, "linear") if x2 < WIDTH - RIGHT - 50 else (x2 - 50, y2 + 44, "linear")
    return [_line(x1, y1, x2, y2, "linear"), _text(*beside, kind="small")]


def _apart(heights: list[float]) -> list[float]:
    """Where names stand that belong to lines which end at these heights: as near as they can, and none on another."""
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    placed = [0.0] * len(heights)
    least = TOP + 6.0
    for n in order:
        placed[n] = max(heights[n], least)
        least = placed[n] + _APART
    most = HEIGHT - BOTTOM - 24.0
    for n in reversed(order):
        placed[n] = min(placed[n], most)
        most = placed[n] - _APART
    return placed


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


def _duration(power: int) -> str:
    """A power of ten of a second."""
    for unit, least in (("s", 0), ("ms", -3), ("µs", -6)):
        if power >= least:
            return f"{10 ** (power - least):,} {unit}"
    return f"{10.0**power:g} s"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
