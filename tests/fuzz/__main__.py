"""Coverage-guided fuzzing of every parser: `python -m tests.fuzz [SECONDS] [--only NAME]`, SECONDS for each.

The corpora in tests/fuzz/corpus/ are the seeds; what fuzzing adds to them stays in run/fuzz/. Needs atheris.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
RUN = Path("run/fuzz")
TARGETS = {
    "datagrams": ("tests.fuzz.datagrams", "examine", 64),
    "session": ("tests.fuzz.mail", "examine_session", 2048),
    "next-hop": ("tests.fuzz.mail", "examine_next_hop", 1024),
    "configuration": ("tests.fuzz.documents", "examine_configuration", 2048),
    "web-file": ("tests.fuzz.documents", "examine_web_file", 1024),
    "requests": ("tests.fuzz.http", "examine_requests", 2048),
}
"""Module, function, and the longest input in bytes."""


def target(name: str) -> Callable[[bytes], None]:
    module, function, _ = TARGETS[name]
    found: Callable[[bytes], None] = getattr(import_module(module), function)
    return found


def fuzz(name: str, seconds: int) -> None:
    """Fuzzes one target in this process, which ends with it."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(
        include=["protocol", "exporter", "reference_server", "smtpstatus"]
    ):
        examine = target(name)
    found = RUN / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={TARGETS[name][2]}",
        f"-artifact_prefix={RUN}/{name}-",
        "-verbosity=0",
        "-print_final_stats=1",
        "-timeout=10",
        "-rss_limit_mb=2048",
        # A short run, as in CI, repeats the same inputs; a long one draws new ones.
        *(["-seed=7030"] if seconds < 30 else []),
    ]
    atheris.Setup([name, *options, str(found), str(HERE / "corpus" / name)], examine)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args()
    if options.only:
        fuzz(options.only, options.seconds)
        return 0
    failed = []
    for name in TARGETS:
        print(f"fuzzing: {name}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", str(options.seconds), "--only", name]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"{len(TARGETS) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".strip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
