"""The results of a check for people, as JSON, and as JUnit XML."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from protocol.conformance.runner import Failure, Result, Verdict
from protocol.dialect import Dialect
from protocol.masking import Mask
from protocol.token import Token

_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Report:
    """A complete check, which took `seconds`. With `error` no case was run: the server gave no good response."""

    target: str
    dialect: Dialect
    token: Token
    results: tuple[Result, ...]
    seconds: float
    error: str | None = None

    @property
    def passed(self) -> bool:
        verdicts = {result.verdict for result in self.results}
        return self.error is None and verdicts <= {Verdict.PASSED}

    def summary(self) -> str:
        counts = Counter(result.verdict for result in self.results)
        words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
        return f"{len(self.results)} cases in {self.seconds:.1f} s: {words}"

    def as_json(self) -> dict[str, object]:
        """The document of docs/smtpstatus.md, "Report as JSON"."""
        writer = Writer(self.token, self.dialect)
        return {
            "target": self.target,
            "dialect": self.dialect.name,
            "passed": self.passed,
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "cases": [writer.as_json(result) for result in self.results],
        }

    def as_junit(self) -> str:
        """A JUnit XML document with one test suite. A case without a response is a failure."""
        writer = Writer(self.token, self.dialect)
        failed = sum(result.verdict is not Verdict.PASSED for result in self.results)
        errors = int(self.error is not None)
        suite = quoteattr(f"smtpstatus check {self.target}, dialect {self.dialect.name}")
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuite name={suite} tests="{len(self.results) + errors}" failures="{failed}"'
            f' errors="{errors}" skipped="0" time="{self.seconds:.3f}">',
            *(writer.as_testcase(result) for result in self.results),
            *self._unanswered(),
            "</testsuite>",
            "",
        ]
        return "\n".join(lines)

    def _unanswered(self) -> Iterator[str]:
        if self.error is not None:
            yield f'  <testcase classname="smtpstatus" name="the server responds" time="{self.seconds:.3f}">'
            yield f"    <error message={quoteattr(self.error)}/>"
            yield "  </testcase>"


class Writer:
    """Writes single results, with every token masked."""

    def __init__(self, token: Token, dialect: Dialect) -> None:
        self._dialect = dialect
        self._mask = Mask(token, dialect)

    def as_text(self, result: Result) -> str:
        """One line, and for each failure what was sent, expected and received."""
        mark = "ok  " if result.verdict is Verdict.PASSED else "FAIL"
        lines = [f"{mark}  {result.case.clause:<4} {result.case.name}"]
        if result.verdict is Verdict.NO_RESPONSE:
            lines[0] += ": no response"
        for failure in result.failures[:_SHOWN_FAILURES]:
            lines += [f"            {line}" for line in self._explain(failure)]
        if len(result.failures) > _SHOWN_FAILURES:
            lines.append(
                f"            and {len(result.failures) - _SHOWN_FAILURES} similar failures"
            )
        return "\n".join(lines)

    def as_json(self, result: Result) -> dict[str, object]:
        case = result.case
        return {
            "name": case.name,
            "clause": case.clause,
            "verdict": result.verdict,
            "seconds": round(result.seconds, 3),
            "steps": [
                {
                    "sent": self._mask.sent(step.sent),
                    "expected": str(step.expected),
                    "expected_bytes": step.expected.pattern(self._dialect),
                }
                for step in case.steps
            ],
            "failures": [
                {
                    "text": failure.text,
                    "sent": self._mask.sent(failure.step.sent) if failure.step else None,
                    "expected": str(failure.step.expected) if failure.step else None,
                    "expected_bytes": failure.step.expected.pattern(self._dialect)
                    if failure.step
                    else None,
                    "received": self._received(failure),
                }
                for failure in result.failures
            ],
        }

    def as_testcase(self, result: Result) -> str:
        clause = quoteattr(f"protocol.md {result.case.clause}")
        opening = (
            f"  <testcase classname={clause} name={quoteattr(result.case.name)}"
            f' time="{result.seconds:.3f}"'
        )
        if result.verdict is Verdict.PASSED:
            return f"{opening}/>"
        lines = [line for failure in result.failures for line in self._explain(failure)]
        message = quoteattr(result.verdict)
        failure = f"<failure message={message}>{escape(chr(10).join(lines))}</failure>"
        return f"{opening}>\n    {failure}\n  </testcase>"

    def _explain(self, failure: Failure) -> list[str]:
        lines = [failure.text]
        if failure.step:
            expected = failure.step.expected
            lines.append(f"  sent      {self._mask.sent(failure.step.sent)}")
            lines.append(f"  expected  {expected.pattern(self._dialect)}  ({expected})")
        if (received := self._received(failure)) is not None:
            lines.append(f"  received  {received}")
        return lines

    def _received(self, failure: Failure) -> str | None:
        if failure.received is None:
            return None
        sent = failure.step.sent if failure.step else b""
        return self._mask.received(failure.received, sent)
