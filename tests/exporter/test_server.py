"""How many connections the exporter accepts (docs/web-configuration.md)."""

import pytest

from exporter.routes.context import HttpOptions
from exporter.server import connection_limit

MANY = 1 << 20
"""Open files."""


@pytest.mark.parametrize(
    ("options", "targets", "descriptors", "tls", "limit"),
    [
        (HttpOptions(), 1, MANY, False, 1000 + 40 + 256),
        (HttpOptions(), 5000, MANY, False, 5000 + 40 + 256),
        (HttpOptions(max_requests=10, max_waiting=20), 5000, MANY, False, 10 + 20 + 256),
        (HttpOptions(), 1, 1024, False, 512),
        (HttpOptions(), 1, 1025, False, 512),
        (HttpOptions(), 20, MANY, True, 128 + 20),
        (HttpOptions(max_waiting=1000), 20, MANY, True, 1000 + 40 + 256),
        (HttpOptions(), 20, 100, True, 50),
    ],
)
def test_the_number_of_connections_is_the_documented_one(
    options: HttpOptions, targets: int, descriptors: int, tls: bool, limit: int
) -> None:
    assert connection_limit(options, targets, descriptors, tls=tls) == limit
