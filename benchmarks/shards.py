"""How evenly Prometheus' hashmod shares out a fleet that is too large to be run here: computed, as Prometheus does."""

from collections import Counter
from hashlib import md5

from benchmarks.bench import Bench
from benchmarks.ratio import Ratio, at_most

_SHARDS = 100


def measure(bench: Bench) -> list[Ratio]:
    names = (f"mail-{number}.example.org:7030" for number in range(bench.form.million))
    sizes = Counter(shard(name, _SHARDS) for name in names)
    mean = bench.form.million / _SHARDS
    subject = f"{bench.form.million:,} names in {_SHARDS} shards"
    largest = max(sizes.values())
    return [Ratio(subject, "names in the largest", largest, "mean", mean, at_most(1.1))]


def shard(text: str, modulus: int) -> int:
    """The shard of a label's value: its MD5's last eight bytes as a number, modulo the number of shards."""
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[8:]) % modulus
