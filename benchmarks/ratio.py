"""Measured ratios, as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bound:
    """The limit of a ratio."""

    kind: Literal["≤", "≥"]
    ratio: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.kind == "≤" else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{self.kind} {self.ratio:g}"


def at_most(ratio: float) -> Bound:
    return Bound("≤", ratio)


def at_least(ratio: float) -> Bound:
    return Bound("≥", ratio)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quantity of this project and that of a peer, or a limit, in the same unit."""

    subject: str
    quantity: str
    ours: float
    beside: str
    theirs: float
    bound: Bound | None = None

    @property
    def ratio(self) -> float:
        if self.theirs == 0:
            return 1.0 if self.ours == 0 else float("inf")
        return self.ours / self.theirs

    @property
    def holds(self) -> bool | None:
        """Whether the bound is met; None without a bound."""
        return self.bound.holds(self.ratio) if self.bound else None


_HEADER = (
    "subject",
    "quantity",
    "smtpstatus",
    "compared with",
    "peer's value",
    "ratio",
    "target",
    "",
)


def table(lines: Sequence[Ratio]) -> str:
    """Formats the ratios as an aligned Markdown table."""
    rows = [_HEADER, *(_cells(line) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def document(lines: Sequence[Ratio], facts: dict[str, object]) -> str:
    """Formats the ratios and the facts about the run as JSON."""
    found = [{**asdict(line), "ratio": line.ratio, "holds": line.holds} for line in lines]
    return json.dumps({**facts, "lines": found}, indent=1, ensure_ascii=False, default=str) + "\n"


def _cells(line: Ratio) -> tuple[str, ...]:
    verdict = {None: "", True: "met", False: "not met"}[line.holds]
    return (
        line.subject,
        line.quantity,
        _number(line.ours),
        line.beside,
        _number(line.theirs),
        f"{line.ratio:.2f}",
        str(line.bound or ""),
        verdict,
    )


def _number(number: float) -> str:
    if number == int(number) or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"
