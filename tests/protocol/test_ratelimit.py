"""The limit of error responses by source network."""

import pytest

from protocol.ratelimit import ErrorRateLimiter, network_of


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("a:name", "a:name"),
    ],
)
def test_an_ipv6_source_counts_as_its_network_of_64_bits(host: str, network: str) -> None:
    assert network_of(host) == network


def test_a_source_is_answered_40_errors_and_then_one_a_second() -> None:
    limiter = ErrorRateLimiter()

    assert [limiter.allows("192.0.2.1", 0.0) for _ in range(41)] == [True] * 40 + [False]
    assert [limiter.allows("192.0.2.1", now) for now in (0.99, 1.0, 1.5, 2.0)] == [
        False,
        True,
        False,
        True,
    ]
    assert limiter.allows("192.0.2.2", 0.0)


def test_the_source_that_was_seen_longest_ago_is_forgotten() -> None:
    limiter = ErrorRateLimiter(burst=1, per_second=0, sources=2)
    for source in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        limiter.allows(source, 0.0)

    assert len(limiter) == 2
    assert not limiter.allows("192.0.2.1", 0.0)
    assert not limiter.allows("192.0.2.3", 0.0)
    assert limiter.allows("192.0.2.2", 0.0)
