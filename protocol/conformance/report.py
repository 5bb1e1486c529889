"""What an examination has found, for people, for scripts, and for what reads JUnit's XML."""

from collections import Counter
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from protocol.conformance.runner import Failure, Result, Verdict
from protocol.dialect import Dialect
from protocol.token import Token

_SHOWN = 5
"""Shortfalls of one case that people are shown."""

_SPELLED = 64
"""Bytes of a datagram that are spelled out."""


def as_text(finding: Result, dialect: Dialect, token: Token) -> str:
    """A line, and below it what was wrong: sent, wanted and got."""
    mark = "ok  " if finding.verdict is Verdict.PASSED else "FAIL"
    lines = [f"{mark}  {finding.case.clause:<4} {finding.case.name}"]
    if finding.verdict is Verdict.NOT_ANSWERED:
        lines[0] += ": not answered"
    for shortfall in finding.shortfalls[:_SHOWN]:
        lines += [f"            {line}" for line in _explain(shortfall, dialect, token)]
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
            "cases": [_finding(finding, self.dialect, self.token) for finding in self.findings],
        }

    def as_junit(self) -> str:
        """A JUnit XML document with one test suite; a case that is not answered is a failure."""
        bad = sum(finding.verdict is not Verdict.PASSED for finding in self.findings)
        suite = quoteattr(f"smtpstatus check {self.target} as {self.dialect.name}")
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuite name={suite} tests="{len(self.findings)}" failures="{bad}" errors="0"'
            f' skipped="0" time="{self.seconds:.3f}">',
            *(_testcase(finding, self.dialect, self.token) for finding in self.findings),
            "</testsuite>",
            "",
        ]
        return "\n".join(lines)


def _testcase(finding: Result, dialect: Dialect, token: Token) -> str:
    clause = quoteattr(f"protocol.md {finding.case.clause}")
    opening = f"  <testcase classname={clause} name={quoteattr(finding.case.name)}"
    if finding.verdict is Verdict.PASSED:
        return f"{opening}/>"
    lines = [line for fall in finding.shortfalls for line in _explain(fall, dialect, token)]
    message = quoteattr(finding.verdict)
    failure = f"<failure message={message}>{escape(chr(10).join(lines))}</failure>"
    return f"{opening}>\n    {failure}\n  </testcase>"


def _finding(finding: Result, dialect: Dialect, token: Token) -> dict[str, object]:
    case = finding.case
    return {
        "name": case.name,
        "clause": case.clause,
        "verdict": finding.verdict,
        "steps": [
            {"sent": spell(step.sent, dialect, token), "wanted": str(step.wanted)}
            for step in case.steps
        ],
        "shortfalls": [
            {
                "text": fall.text,
                "sent": spell(fall.step.sent, dialect, token) if fall.step else None,
                "wanted": str(fall.step.wanted) if fall.step else None,
                "got": fall.got.hex() if fall.got is not None else None,
            }
            for fall in finding.shortfalls
        ],
    }


def _explain(shortfall: Failure, dialect: Dialect, token: Token) -> list[str]:
    lines = [shortfall.text]
    if shortfall.step:
        lines.append(f"  sent    {spell(shortfall.step.sent, dialect, token)}")
        lines.append(f"  wanted  {shortfall.step.wanted}")
    if shortfall.got is not None:
        lines.append(f"  got     {shortfall.got.hex() or 'an empty datagram'}")
    return lines


def spell(datagram: bytes, dialect: Dialect, token: Token) -> str:
    """A datagram that was sent, in hexadecimal; whatever part of the token stands in it is masked."""
    place = dialect.authentication
    digits = datagram.hex()
    carried = datagram[place.span]
    if carried and carried == token.octets[: len(carried)]:
        digits = digits[: 2 * place.offset] + "**" * len(carried) + digits[2 * place.end :]
    if len(datagram) > _SPELLED:
        return f"{digits[: 2 * _SPELLED]}… ({len(datagram)} bytes)"
    return digits or "an empty datagram"
