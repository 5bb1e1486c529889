"""`make bench`: measures, prints the table, and writes it as JSON, with an SVG of growth.

Exit status 1 if a bound is missed in the full form; the short form, for CI, does not judge time.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import (
    dashboards,
    growth,
    mail,
    plot,
    pressure,
    probe,
    scrape,
    shards,
    start,
    status,
    storage,
)
from benchmarks import filter as content_filter
from benchmarks.bench import Bench
from benchmarks.native import compiled
from benchmarks.profile import FORMS
from benchmarks.ratio import Ratio, document, table

SUBJECTS: dict[str, Callable[[Bench], list[Ratio]]] = {
    "scrape": scrape.measure,
    "probe": probe.measure,
    "start": start.measure,
    "status": status.measure,
    "pressure": pressure.measure,
    "mail": mail.measure,
    "filter": content_filter.measure,
    "storage": storage.measure,
    "shards": shards.measure,
    "dashboards": dashboards.measure,
}
GROWTH = "growth"


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    form = FORMS[options.form]
    options.output.mkdir(parents=True, exist_ok=True)
    lines: list[Ratio] = []
    facts: dict[str, object] = {"form": form.name, **_machine()}
    with _folder() as folder:
        bench = Bench(form, folder, compiled(folder))
        for name in options.only:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            if name == GROWTH:
                sizes = growth.sizes(bench)
                lines += growth.lines(sizes)
                facts[GROWTH] = [asdict(size) for size in sizes]
                (options.output / "growth.svg").write_text(plot.svg(sizes))
            else:
                lines += SUBJECTS[name](bench)
    print(table(lines))
    (options.output / f"{form.name}.md").write_text(table(lines) + "\n")
    (options.output / f"{form.name}.json").write_text(document(lines, facts))
    return 1 if form.judged and any(line.holds is False for line in lines) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("form", nargs="?", default="full", choices=FORMS, help="how much")
    names = [*SUBJECTS, GROWTH]
    parser.add_argument("--only", nargs="+", default=names, choices=names, help="what")
    parser.add_argument("--output", type=Path, default=Path("run/bench"), help="a folder")
    return parser


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder that mail servers may enter under other users."""
    with TemporaryDirectory(prefix="smtpstatus-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
