"""What an examination has found, for people, for scripts, and for what reads JUnit's XML."""

from collections import Counter
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from protocol.conformance.masking import Mask
from protocol.conformance.runner import Failure, Result, Verdict
from protocol.dialect import Dialect
from protocol.token import Token

_SHOWN = 5
"""Shortfalls of one case that people are shown."""


def as_text(finding: Result, mask: Mask) -> str:
    """A line, and below it what was wrong: sent, wanted and got."""
    mark = "ok  " if finding.verdict is Verdict.PASSED else "FAIL"
    lines = [f"{mark}  {finding.case.clause:<4} {finding.case.name}"]
    if finding.verdict is Verdict.NOT_ANSWERED:
        lines[0] += ": not answered"
    for shortfall in finding.shortfalls[:_SHOWN]:
        lines += [f"            {line}" for line in _explain(shortfall, mask)]
    if len(finding.shortfalls) > _SHOWN:
        lines.append(f"            and {len(finding.shortfalls) - _SHOWN} more like this")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole examination, which took `seconds`."""

    target: str
    dialect: Dialect
    token: Token
    findings: tuple[Result, ...]
    seconds: float

    @property
    def _mask(self) -> Mask:
        return Mask(self.token, self.dialect)

    @property
    def passed(self) -> bool:
        return all(finding.verdict is Verdict.PASSED for finding in self.findings)

    def summary(self) -> str:
        counts = Counter(finding.verdict for finding in self.findings)
        words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
        return f"{len(self.findings)} cases in {self.seconds:.1f} s: {words}"

    def as_json(self) -> dict[str, object]:
        return {
            "target": self.target,
            "dialect": self.dialect.name,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "cases": [_finding(finding, self._mask) for finding in self.findings],
        }

    def as_junit(self) -> str:
        """A JUnit XML document with one test suite; a case that is not answered is a failure."""
        bad = sum(finding.verdict is not Verdict.PASSED for finding in self.findings)
        suite = quoteattr(f"smtpstatus check {self.target} as {self.dialect.name}")
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuite name={suite} tests="{len(self.findings)}" failures="{bad}" errors="0"'
            f' skipped="0" time="{self.seconds:.3f}">',
            *(_testcase(finding, self._mask) for finding in self.findings),
            "</testsuite>",
            "",
        ]
        return "\n".join(lines)


def _testcase(finding: Result, mask: Mask) -> str:
    clause = quoteattr(f"protocol.md {finding.case.clause}")
    opening = f"  <testcase classname={clause} name={quoteattr(finding.case.name)}"
    if finding.verdict is Verdict.PASSED:
        return f"{opening}/>"
    lines = [line for fall in finding.shortfalls for line in _explain(fall, mask)]
    message = quoteattr(finding.verdict)
    failure = f"<failure message={message}>{escape(chr(10).join(lines))}</failure>"
    return f"{opening}>\n    {failure}\n  </testcase>"


def _finding(finding: Result, mask: Mask) -> dict[str, object]:
    case = finding.case
    return {
        "name": case.name,
        "clause": case.clause,
        "verdict": finding.verdict,
        "steps": [
            {"sent": mask.sent(step.sent), "wanted": str(step.wanted)} for step in case.steps
        ],
        "shortfalls": [
            {
                "text": fall.text,
                "sent": mask.sent(fall.step.sent) if fall.step else None,
                "wanted": str(fall.step.wanted) if fall.step else None,
                "got": _received(fall, mask),
            }
            for fall in finding.shortfalls
        ],
    }


def _explain(shortfall: Failure, mask: Mask) -> list[str]:
    lines = [shortfall.text]
    if shortfall.step:
        lines.append(f"  sent    {mask.sent(shortfall.step.sent)}")
        lines.append(f"  wanted  {shortfall.step.wanted}")
    if (got := _received(shortfall, mask)) is not None:
        lines.append(f"  got     {got}")
    return lines


def _received(shortfall: Failure, mask: Mask) -> str | None:
    if shortfall.got is None:
        return None
    return mask.received(shortfall.got, shortfall.step.sent if shortfall.step else b"")
