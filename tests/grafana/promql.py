"""Selectors and ranges of PromQL expressions, with a dashboard's variables filled in."""

import re
import time

import promql_parser
from promql_parser import Call, Expr, MatrixSelector, VectorSelector


def filled(expression: str, job: str = ".+", target: str = ".+") -> str:
    """The expression as Grafana sends it: every server, or one, over a short window."""
    now = int(time.time() * 1000)
    values = {
        "job": job,
        "exporter_job": ".+",
        "instance": ".+",
        "target": target,
        "server": target,
        "group": "instance",
        "__interval": "1s",
        "__rate_interval": "15s",
        "__range": "1m",
        "__from": str(now - 3_600_000),
        "__to": str(now + 3_600_000),
    }
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


def selectors(expression: str) -> list[VectorSelector]:
    """Every selector in an expression, of an instant or of a range; raises ValueError where it does not parse."""
    found: list[VectorSelector] = []

    def visit(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(filled(expression)), visit)
    return found


def ranges(expression: str) -> list[tuple[str, str]]:
    """Each function over a range: its name, and the metric that it is of."""
    found: list[tuple[str, str]] = []

    def visit(node: Expr) -> None:
        if isinstance(node, Call):
            for argument in node.args:
                if isinstance(argument, MatrixSelector):
                    found.append((node.func.name, argument.vector_selector.name or ""))

    promql_parser.walk(promql_parser.parse(filled(expression)), visit)
    return found
