"""Limits that requests and connections share, without a server."""

import time
from contextlib import ExitStack

import pytest

from exporter.http.limits import (
    ConnectionLimits,
    LogLimit,
    RequestLimits,
    TooManyRequests,
    client_network,
)


class Client:
    """Connection of a client, for `ConnectionLimits`."""

    def __init__(self, host: str, idle_since: float = 0.0, *, answering: bool = False) -> None:
        self.client: tuple[str, int] | None = (host, 1)
        self.idle_since = idle_since
        self.answering = answering
        self.buffered = 0
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def admitted(limits: ConnectionLimits, *clients: Client) -> list[bool]:
    """Admits the clients in order; returns which of them were closed."""
    for client in clients:
        limits.admit(client)
    return [client.aborted for client in clients]


def test_requests_work_up_to_the_limit_and_again_after_one_ends() -> None:
    limits = RequestLimits(2, lambda: 10)
    with limits.working():
        with limits.working():
            assert limits.in_flight == 2
            with pytest.raises(TooManyRequests, match="2 requests are in progress"):
                limits.working().__enter__()
            with pytest.raises(TooManyRequests, match="2 requests are in progress"):
                limits.waiting("mail-1").__enter__()
        with limits.working():
            assert limits.in_flight == 2

    assert limits.in_flight == 0


def test_any_number_of_requests_work_without_a_limit() -> None:
    limits = RequestLimits(0, lambda: 1)
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(limits.working())

        assert limits.in_flight == 1000


def test_a_request_replaces_the_response_that_was_not_read_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limits = RequestLimits(4, lambda: 10)
    aborted: list[float | None] = []

    def work(sent_at: float | None) -> None:
        stack.enter_context(limits.working(lambda: aborted.append(sent_at))).sent_at = sent_at

    with ExitStack() as stack:
        for sent_at in (99.875, None, 99.0, None):
            work(sent_at)

        work(None)
        assert aborted == [99.0]
        now = 100.12
        with pytest.raises(TooManyRequests, match="4 requests are in progress"):
            work(None)
        now = 100.125
        work(None)
        assert (aborted, limits.in_flight) == ([99.0, 99.875], 4)
        with pytest.raises(TooManyRequests):
            work(None)

    assert limits.in_flight == 0


def test_requests_that_wait_for_the_same_reading_count_as_one() -> None:
    limits = RequestLimits(0, lambda: 2)
    with limits.waiting("a"), limits.waiting("b"):
        with limits.waiting("a"):
            assert limits.in_flight == 3
        with limits.waiting("a"):
            pass
        with pytest.raises(TooManyRequests, match="2 readings are in progress"):
            limits.waiting("c").__enter__()
    with limits.waiting("c"):
        assert limits.in_flight == 1

    assert limits.in_flight == 0


def test_a_failed_request_no_longer_counts() -> None:
    limits = RequestLimits(1, lambda: 1)
    for block in (limits.working, lambda: limits.waiting("a")):
        with pytest.raises(KeyError), block():
            raise KeyError

    assert limits.in_flight == 0


def test_the_oldest_idle_connection_of_the_client_with_most_is_closed_beyond_the_limit() -> None:
    limits = ConnectionLimits(lambda: 4)
    busy = Client("192.0.2.1", answering=True)
    older, newer = Client("192.0.2.1", 1.0), Client("192.0.2.1", 2.0)
    other, last = Client("192.0.2.2"), Client("192.0.2.3")

    assert admitted(limits, busy, newer, older, other, last) == [False, False, True, False, False]
    assert list(limits) == [busy, newer, older, other, last]


def test_the_new_connection_is_closed_if_no_other_of_its_client_is_idle() -> None:
    limits = ConnectionLimits(lambda: 2)
    new = Client("192.0.2.1", idle_since=-1.0)

    assert admitted(limits, *[Client("192.0.2.1", answering=True) for _ in range(2)]) == [
        False,
        False,
    ]
    assert admitted(limits, new) == [True]


def test_a_released_connection_no_longer_counts() -> None:
    limits = ConnectionLimits(lambda: 2)
    first, second, third = (Client("192.0.2.1", answering=True) for _ in range(3))
    assert admitted(limits, first, second) == [False, False]
    limits.release(first)
    limits.release(second)
    others = [Client("192.0.2.2"), Client("192.0.2.3")]

    assert admitted(limits, *others) == [False, False]
    assert admitted(limits, third) == [False]
    assert [one.aborted for one in others].count(True) == 1


@pytest.fixture
def buffering() -> tuple[ConnectionLimits, list[Client]]:
    """A budget of 10,000 bytes and 2,048 for each of two connections."""
    limits = ConnectionLimits(lambda: 2, most_buffered_bytes=10_000)
    clients = [Client("192.0.2.1"), Client("192.0.2.2")]
    admitted(limits, *clients)
    return limits, clients


def test_bytes_up_to_the_budget_close_no_connection(
    buffering: tuple[ConnectionLimits, list[Client]],
) -> None:
    limits, (first, second) = buffering
    limits.account(first, 14_095)
    limits.account(second, 1)

    assert (first.buffered, second.buffered) == (14_095, 1)
    assert not first.aborted


def test_the_connection_with_most_bytes_is_closed_beyond_the_budget(
    buffering: tuple[ConnectionLimits, list[Client]],
) -> None:
    limits, (first, second) = buffering
    limits.account(first, 14_096)
    limits.account(second, 1)

    assert (first.aborted, second.aborted) == (True, False)
    limits.account(second, 14_096)
    assert not second.aborted
    limits.account(second, 14_097)
    assert second.aborted


def test_bytes_that_were_released_or_parsed_no_longer_count(
    buffering: tuple[ConnectionLimits, list[Client]],
) -> None:
    limits, (first, second) = buffering
    limits.account(first, 10_000)
    limits.account(first, 4_000)
    limits.release(first)
    limits.account(second, 14_096)

    assert not second.aborted


@pytest.mark.parametrize(
    ("client", "network"),
    [
        (None, "unix"),
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("fe80::1%eth0", 1), "fe80::"),
        (("testclient", 1), "testclient"),
    ],
)
def test_an_ipv6_client_is_its_network_of_64_bits(
    client: tuple[str, int] | None, network: str
) -> None:
    assert client_network(client) == network


def test_the_first_line_of_a_client_is_logged_and_others_until_the_interval_has_passed() -> None:
    limit = LogLimit(interval_s=60.0, most_clients=2)

    assert [limit.repeated("a", now) for now in (5.0, 6.0, 64.9, 65.0)] == [0, None, None, 2]
    assert [limit.repeated("b", now) for now in (66.0, 66.0, 126.0)] == [0, None, 1]


def test_a_log_limit_forgets_the_client_that_was_logged_longest_ago() -> None:
    limit = LogLimit(interval_s=60.0, most_clients=2)
    for client, now in (("a", 0.0), ("b", 1.0), ("a", 60.0), ("c", 61.0)):
        limit.repeated(client, now)

    assert limit.repeated("a", 61.0) is None
    assert limit.repeated("c", 61.0) is None
    assert limit.repeated("b", 62.0) == 0
