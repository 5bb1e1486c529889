"""Growth as an SVG with logarithmic axes: linear growth is a straight line of slope one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.growth import Size

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 400, 60, 40, 180, 50
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b")

Point = tuple[float, float]


def svg(sizes: Sequence[Size]) -> str:
    """Plots scrape, CPU, start and reload times in seconds and memory in GiB over the number of targets."""
    return _drawing(
        "Cost of one exporter by number of targets",
        {
            "start, s": [(size.targets, size.start) for size in sizes],
            "reload, s": [(size.targets, size.reload) for size in sizes],
            "scrape, s": [(size.targets, size.seconds) for size in sizes],
            "scrape, CPU s": [(size.targets, size.cpu) for size in sizes],
            "memory, GiB": [(size.targets, size.memory / 1024) for size in sizes],
        },
    )


def _drawing(title: str, series: Mapping[str, Sequence[Point]]) -> str:
    points = [(x, y) for line in series.values() for x, y in line if y > 0]
    xs, ys = _decades([x for x, _ in points]), _decades([y for _, y in points])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *_grid(xs, ys),
    ]
    for line, colour in zip(series.values(), _COLOURS, strict=True):
        placed = [_place(x, y, xs, ys) for x, y in line if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
    parts += _legend(list(series))
    return "\n".join([*parts, "</svg>", ""])


def _decades(numbers: Sequence[float]) -> range:
    return range(math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers))) + 1)


def _place(x: float, y: float, xs: range, ys: range) -> Point:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    across = (math.log10(x) - xs[0]) / (xs[-1] - xs[0])
    up = (math.log10(y) - ys[0]) / (ys[-1] - ys[0])
    return _LEFT + across * width, _TOP + (1 - up) * height


def _grid(xs: range, ys: range) -> Iterator[str]:
    for power in xs:
        x, bottom = _place(10.0**power, 10.0 ** ys[0], xs, ys)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom:.1f}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{10**power:,}</text>'
    for power in ys:
        left, y = _place(10.0 ** xs[0], 10.0**power, xs, ys)
        right = _WIDTH - _RIGHT
        yield f'<line x1="{left:.1f}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
    yield f'<text x="{middle:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">targets</text>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    left = _WIDTH - _RIGHT + 20
    for row, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        y = _TOP + 14 + 20 * row
        yield f'<line x1="{left}" x2="{left + 20}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{left + 28}" y="{y + 4}">{escape(name)}</text>'
