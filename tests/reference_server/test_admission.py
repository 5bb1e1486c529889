"""How many clients are served simultaneously."""

import pytest

from reference_server.admission import Admission
from reference_server.limits import ServerLimits


def test_sessions_are_limited_in_all() -> None:
    admission = Admission(ServerLimits(connections=2))

    assert [admission.admit(f"192.0.2.{number}") for number in range(3)] == [True, True, False]
    admission.release("192.0.2.0")
    assert admission.admit("192.0.2.9")
    assert admission.sessions == 2


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_sessions_are_limited_per_ipv4_address_and_ipv6_64(
    first: str, second: str, same: bool
) -> None:
    admission = Admission(ServerLimits(connections_per_address=1))

    assert admission.admit(first)
    assert admission.admit(second) is not same
    admission.release(first)
    assert admission.admit(first)
