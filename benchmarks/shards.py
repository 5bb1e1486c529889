"""How evenly Prometheus' hashmod distributes a fleet too large to run: computed as Prometheus does."""

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
    return [Ratio(subject, "names in the largest shard", largest, "mean", mean, at_most(1.1))]


def shard(text: str, modulus: int) -> int:
    """Returns the shard of a label value: the last eight bytes of its MD5, modulo the number of shards."""
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[8:]) % modulus
