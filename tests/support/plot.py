"""Lines over time as an SVG, without dependencies."""

from collections.abc import Mapping, Sequence

Line = Sequence[tuple[float, float]]
"""Points: seconds and a value."""

COLOURS = ("#3274d9", "#e02f44", "#56a64b", "#ff9830")
_WIDTH, _HEIGHT = 760, 130
_LEFT, _TOP = 60, 34
_PLOT = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 12
_MOST_POINTS = 240


def as_svg(panels: Mapping[str, Mapping[str, Line]]) -> str:
    """Draws a panel for each title, one below the other, each from zero and with a line for each name."""
    height = _HEIGHT * len(panels) + 24
    last = max(at for lines in panels.values() for line in lines.values() for at, _ in line)
    names = list(next(iter(panels.values())))
    parts = [_legend(names)]
    for number, (title, lines) in enumerate(panels.items()):
        parts.append(f'<g transform="translate(0 {number * _HEIGHT})">')
        parts.append(_panel(title, list(lines.values()), last))
        parts.append("</g>")
    parts.append(
        f'<text x="{_LEFT}" y="{height - 8}">0 s</text>'
        f'<text x="{_LEFT + _PLOT[0]}" y="{height - 8}" text-anchor="end">{last:.0f} s</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        ' font-family="sans-serif" font-size="11">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend(names: Sequence[str]) -> str:
    return "".join(
        f'<text x="{_WIDTH - 20 - 110 * (len(names) - 1 - number)}" y="18" text-anchor="end"'
        f' fill="{colour}">{name}</text>'
        for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False))
    )


def _panel(title: str, lines: Sequence[Line], last: float) -> str:
    most = max(value for line in lines for _, value in line) or 1
    width, height = _PLOT
    bottom = _TOP + height
    drawn = [
        f'<text x="{_LEFT}" y="{_TOP - 8}" font-weight="bold">{title}</text>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{_LEFT + width}" fill="none" stroke="#666"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{most:.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    for number, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        points = " ".join(
            f"{_LEFT + width * at / last:.0f},{bottom - height * value / most:.1f}"
            for at, value in line[:: -(-len(line) // _MOST_POINTS)]
        )
        stroke = f'stroke="{colour}" stroke-width="{1 if number else 3}"'  # equal lines are both visible
        drawn.append(f'<polyline fill="none" {stroke} points="{points}"/>')
    return "\n".join(drawn)
