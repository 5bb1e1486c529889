"""Ten thousand requests over a network that loses, duplicates, reorders, corrupts and forges datagrams."""

import asyncio
import json
import math
import os
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from protocol.address import HostPort
from protocol.client import Peer
from protocol.dialects import V0
from protocol.errors import DiscardReason, InvalidResponses, NoAnswer
from protocol.token import Token
from tests.support.faulty_network import NetworkFaults, faulty_network, value
from tests.support.fleet import read_all
from tests.support.real import require

pytestmark = [pytest.mark.soak, pytest.mark.long]

TOKEN = Token(b"secretpa")
GROUP = 85
"""Peers that share a socket: a full round of responses fits its receive buffer, so that none is lost there."""

ATTEMPTS = 3
SIGMAS = 6
"""Standard deviations: further off than that once in a thousand million runs."""


def expected_readings(count: int, command_answered: float) -> tuple[float, float]:
    """Expected number of complete readings (four commands each), and its largest deviation by chance."""
    share = command_answered ** len(V0.reads)
    return count * share, SIGMAS * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize(
    ("faults", "count", "seconds"),
    [
        (NetworkFaults(lost=0.02, corrupted=0.0, duplicated=0.0, forged=0.0, delay=0.01), 850, 4),
        # Four commands for each peer: 10,200 requests.
        (
            NetworkFaults(lost=0.2, corrupted=0.05, duplicated=0.1, forged=0.2, delay=0.04),
            2550,
            12,
        ),
    ],
    ids=["fair", "storm"],
)
async def test_readings_over_a_bad_network_are_right_and_succeed_at_the_expected_rate(
    faults: NetworkFaults, count: int, seconds: float
) -> None:
    strays: Counter[DiscardReason] = Counter()
    async with faulty_network(TOKEN, faults, seed=7030) as port:
        peers = [
            Peer(HostPort(f"127.77.{number >> 8}.{number & 255}", port), TOKEN)
            for number in range(count)
        ]
        groups = [peers[start : start + GROUP] for start in range(0, count, GROUP)]
        found = await asyncio.gather(
            *(
                read_all(group, timeout=seconds, attempts=ATTEMPTS, strays=strays)
                for group in groups
            )
        )
    readings = list(zip(peers, chain(*found), strict=True))

    answered = [(peer, reading) for peer, reading in readings if not reading.error]
    for peer, reading in answered:
        assert reading.values == {command: value(peer.where.host, command) for command in V0.reads}
    expected, chance = expected_readings(len(readings), faults.answered(ATTEMPTS))
    assert len(answered) == pytest.approx(expected, abs=chance)
    for _, reading in readings:
        assert reading.error is None or isinstance(reading.error, NoAnswer | InvalidResponses)
    discarded = {reason for _, reading in readings for reason in reading.cost.discarded}
    if faults.corrupted:
        assert discarded >= set(DiscardReason) - {DiscardReason.SOURCE, DiscardReason.RESULT}
        # The others arrived after their reading had ended.
        assert DiscardReason.SOURCE in strays
    else:
        # Late or duplicate responses, before or after the end of the reading.
        assert discarded | strays.keys() <= {DiscardReason.IDENTIFIER}


RULES = """
table ip lossy {
  chain input {
    type filter hook input priority 0;
    udp dport 7030 numgen random mod 100 < 20 drop
    udp sport 7030 numgen random mod 100 < 20 drop
  }
}
"""


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a network namespace that is removed with it."""
    return subprocess.run(
        [require("unshare"), "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_readings_over_a_kernel_that_drops_datagrams_succeed_at_the_expected_rate() -> None:
    """Requests and answers are dropped in the receiving side's packet filter, one in five."""
    count = 2500  # readings of four commands: ten thousand requests
    setup = f"ip link set lo up && {require('nft')} '{RULES}'"
    require("ip")
    attempt = in_namespace(setup)
    if attempt.returncode:
        refused = pytest.fail if os.environ.get("SMTPSTATUS_REQUIRE_REAL") == "1" else pytest.skip
        refused(f"no namespace with a packet filter to be had here: {attempt.stderr}")

    ran = in_namespace(
        f"{setup} && exec {sys.executable} -m tests.support.read_fleet 7030 {count}"
    )

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    lossy = NetworkFaults(lost=0.2, corrupted=0, duplicated=0, forged=0, delay=0)
    expected, chance = expected_readings(count, lossy.answered(ATTEMPTS))
    assert found["wrong"] == 0
    assert found["answered"] == pytest.approx(expected, abs=chance)
    assert found["retransmissions"] > 0
