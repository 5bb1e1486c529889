"""Look-ups through the system's resolver; getaddrinfo is replaced where a test needs one that hangs."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from protocol import resolver as module
from protocol.address import HostPort
from protocol.errors import Resource, Shortage, UnknownName
from protocol.resolver import Resolver


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver(threads=8)
    yield made
    made.close()


class Names:
    """getaddrinfo that hangs for names with "slow" until released, and counts its calls."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.calls: Counter[str] = Counter()
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self.failure: int | None = None

    def __call__(self, host: str, *_: object, **__: object) -> list[object]:
        with self._lock:
            self.calls[host] += 1
            self._running += 1
            self.most = max(self.most, self._running)
        if "slow" in host:
            self.released.wait(30)
        with self._lock:
            self._running -= 1
        if self.failure:
            raise socket.gaierror(self.failure, "no")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    monkeypatch.setattr(module, "numeric", lambda where: ())
    yield made
    made.released.set()


async def test_a_look_up_without_a_thread_is_a_shortage_and_the_next_one_succeeds(
    resolver: Resolver, names: Names
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(Shortage) as raised:
            await resolver.resolve(HostPort("mail.example", 7030), 5)
    assert raised.value.resource is Resource.THREADS
    assert await resolver.resolve(HostPort("mail.example", 7030), 5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        others = [HostPort(f"mail-{number}.example", 7030) for number in range(4)]
        assert all(await asyncio.gather(*(resolver.resolve(one, 5) for one in others)))


async def test_a_name_resolves_to_all_its_addresses(resolver: Resolver) -> None:
    assert ("127.0.0.1", 7030) in await resolver.resolve(HostPort("localhost", 7030), 5)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 64 + ".example", "a..b", "ü" * 70])
async def test_the_error_for_a_name_without_an_address_names_it(
    name: str, resolver: Resolver
) -> None:
    with pytest.raises(UnknownName, match=name[:10]):
        await resolver.resolve(HostPort(name, 7030), 5)


async def test_a_look_up_ends_at_the_timeout(resolver: Resolver, names: Names) -> None:
    with pytest.raises(UnknownName, match="timed out"):
        await resolver.resolve(HostPort("slow", 7030), 0)
    with pytest.raises(UnknownName, match="timed out"):
        await resolver.resolve(HostPort("slow", 7030), 0.01)


async def test_simultaneous_look_ups_of_one_name_are_one_call(
    resolver: Resolver, names: Names
) -> None:
    found = await asyncio.gather(
        *(resolver.resolve(HostPort("one", port), 5) for port in (1, 2, 3))
    )

    assert names.calls == {"one": 1}
    assert found == [(("192.0.2.1", port),) for port in (1, 2, 3)]


async def test_probes_use_at_most_half_of_the_threads(resolver: Resolver, names: Names) -> None:
    probes = [
        asyncio.create_task(resolver.resolve(HostPort(f"slow-{number}", 1), 0.5, probe=True))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    assert await resolver.resolve(HostPort("target", 7030), 5) == (("192.0.2.1", 7030),)
    results = await asyncio.gather(*probes, return_exceptions=True)

    assert all(isinstance(result, UnknownName) for result in results)
    assert names.most <= 5  # half of eight, and that of the target
    assert names.calls.total() == 5  # a look-up without callers is not started


async def test_names_that_hung_before_use_at_most_half_of_the_threads(
    resolver: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLOW_S", 0.0)
    slow = [HostPort(f"slow-{number}", 1) for number in range(8)]
    first = [asyncio.create_task(resolver.resolve(where, 5)) for where in slow]
    await asyncio.sleep(0.01)
    names.released.set()
    await asyncio.gather(*first)
    names.released.clear()
    again = [asyncio.create_task(resolver.resolve(where, 30)) for where in slow]
    await asyncio.sleep(0)

    assert await resolver.resolve(HostPort("target", 7030), 5) == (("192.0.2.1", 7030),)
    names.released.set()
    await asyncio.gather(*again)


async def test_names_that_were_quick_before_use_all_threads(names: Names) -> None:
    resolver = Resolver(threads=2)
    hosts = [HostPort(name, 1) for name in ("one", "two")]
    await asyncio.gather(*[resolver.resolve(where, 5) for where in hosts])
    slow = asyncio.create_task(resolver.resolve(HostPort("slow", 1), 5, probe=True))
    await asyncio.sleep(0)

    assert await resolver.resolve(hosts[0], 5) == (("192.0.2.1", 1),)
    assert names.calls == {"one": 2, "two": 1, "slow": 1}
    names.released.set()
    await slow
    resolver.close()


async def test_the_threads_end_when_the_resolver_is_closed(names: Names) -> None:
    before = set(threading.enumerate())
    resolver = Resolver(threads=3)
    await asyncio.gather(*[resolver.resolve(HostPort(f"{n}.example", 1), 5) for n in range(9)])
    started = set(threading.enumerate()) - before
    resolver.close()
    for thread in started:
        await asyncio.to_thread(thread.join, 5)

    assert {thread.name for thread in started} == {"resolver"}
    assert not any(thread.is_alive() for thread in started)


@pytest.mark.parametrize(("probe", "threads"), [(False, 1), (True, 2)])
async def test_names_that_wait_for_a_thread_are_looked_up_in_order(
    probe: bool, threads: int, names: Names
) -> None:
    resolver = Resolver(threads)
    hosts = ["slow", "one", "two", "three"]
    waiting = [
        asyncio.create_task(resolver.resolve(HostPort(host, 1), 5, probe=probe)) for host in hosts
    ]
    await asyncio.sleep(0)
    names.released.set()
    await asyncio.gather(*waiting)

    assert list(names.calls) == hosts
    resolver.close()


@pytest.mark.parametrize("late", [True, False], ids=["hangs", "fails for the moment"])
async def test_the_last_addresses_are_used_for_a_minute_while_a_look_up_hangs(
    late: bool, resolver: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = HostPort("slow", 7030)
    names.released.set()
    good = await resolver.resolve(where, 5)
    if late:
        names.released.clear()
    else:
        names.failure = socket.EAI_AGAIN
    began = time.monotonic()

    assert await resolver.resolve(where, 0.2) == good
    assert time.monotonic() - began < 0.2

    monkeypatch.setattr(module, "_GOOD_S", 0.0)
    with pytest.raises(UnknownName):
        await resolver.resolve(where, 0.05)


async def test_a_name_that_no_longer_exists_is_not_answered_from_the_cache(
    resolver: Resolver, names: Names
) -> None:
    await resolver.resolve(HostPort("removed", 7030), 5)
    names.failure = socket.EAI_NONAME

    with pytest.raises(UnknownName, match="cannot resolve removed"):
        await resolver.resolve(HostPort("removed", 7030), 5)
