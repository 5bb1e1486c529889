"""Which form of an answer a client asks for: Prometheus' content negotiation, with its weights (RFC 9110, 12.4.2).

Whatever the headers hold, one of our own forms comes out, and nothing of theirs is repeated.
"""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache

_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_LONGEST_HEADER = 4096
_KEPT = 32
"""Headers whose meaning is kept: scrapers send the same ones for years."""


class Format(Enum):
    """The text formats; the value is the Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@lru_cache(_KEPT)
def text_format(accept: str) -> Format:
    """OpenMetrics 1.0 where it is wanted at least as much as plain text; else the text format 0.0.4."""
    weights = {Format.TEXT: -1.0, Format.OPENMETRICS: -1.0}
    for name, parameters, weight in _choices(accept):
        if name == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
                weights[Format.OPENMETRICS] = max(weights[Format.OPENMETRICS], weight)
        elif name in ("text/plain", "text/*", "*/*") and (
            parameters.get("version", "0.0.4") == "0.0.4"
        ):
            weights[Format.TEXT] = max(weights[Format.TEXT], weight)
    wanted = weights[Format.OPENMETRICS]
    return Format.OPENMETRICS if wanted > 0 and wanted >= weights[Format.TEXT] else Format.TEXT


@lru_cache(_KEPT)
def gzip_accepted(accept_encoding: str) -> bool:
    """Whether gzip is wanted, by name or by a star, with a weight above zero."""
    weights = {name: weight for name, _, weight in _choices(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _choices(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for choice in header[:_LONGEST_HEADER].split(","):
        name, *rest = (part.strip() for part in choice.split(";"))
        parameters: dict[str, str] = {}
        for parameter in rest:
            key, _, value = parameter.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        weight = parameters.pop("q", "1")
        if name and _WEIGHT.fullmatch(weight):
            yield name.lower(), parameters, float(weight)
