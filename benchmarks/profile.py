"""The sizes of a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of a run; if `judged`, a missed bound makes the run fail."""

    name: str
    judged: bool
    rounds: int
    fleet: int
    probes: int
    scrapers: int
    requests: int
    """Requests sent to a status port in one round."""
    offered: int
    """Requests per second offered to a status port, independent of its responses."""
    growth: tuple[int, ...]
    messages: int
    sessions: tuple[int, ...]
    large_messages: int
    """Number of messages of 1 MiB."""
    pipelining: int
    """Clients that pipeline commands simultaneously."""
    flood_s: float
    """Seconds of a flood of datagrams with a wrong token."""
    history_servers: int
    history_hours: float
    """Hours of data for dashboards."""
    million: int
    """Names distributed over shards; computed, not run."""


SHORT = Profile(
    name="short",
    judged=False,
    rounds=1,
    fleet=200,
    probes=100,
    scrapers=16,
    requests=2_000,
    offered=5_000,
    growth=(10, 100),
    messages=50,
    sessions=(5,),
    large_messages=4,
    pipelining=10,
    flood_s=0.3,
    history_servers=50,
    history_hours=0.5,
    million=100_000,
)
FULL = Profile(
    name="full",
    judged=True,
    rounds=5,
    fleet=10_000,
    probes=3_000,
    scrapers=16,
    requests=200_000,
    offered=100_000,
    growth=(100, 1_000, 10_000, 50_000),
    messages=1_000,
    sessions=(1, 10, 100),
    large_messages=100,
    pipelining=200,
    flood_s=5,
    history_servers=1_000,
    history_hours=6,
    million=1_000_000,
)
FORMS = {form.name: form for form in (SHORT, FULL)}
