"""`smtpstatus get`: reads the counters of servers once."""

import sys
from argparse import Namespace
from pathlib import Path

from protocol.cli.client import peer_of, read, report
from protocol.cli.options import dialect_of, print_json
from protocol.cli.output import as_json, as_table
from protocol.cli.textfile import as_prometheus
from protocol.plausibility import doubt


def run(options: Namespace) -> int:
    """Returns the exit status: the highest of all servers'."""
    output = options.format or ("json" if options.json else "text")
    if options.json and output != "json":
        raise ValueError(f"--json and --format {output} exclude each other: pass one of them")
    targets = _targets(options)
    dialect = dialect_of(options)
    peers = [peer_of(options, target, dialect) for target in targets]
    readings = read(options, peers)
    found = dict(zip(targets, readings, strict=True))
    if output == "prometheus":
        print(as_prometheus(found), end="")
    status, separator = 0, ""
    for target, reading in found.items():
        if output == "json":
            print_json(as_json(target, dialect, reading))
        elif output == "text" and not reading.error:
            print(f"{separator}{as_table(target, dialect, reading)}")
            separator = "\n"
        status = max(status, report(target, reading.error))
        if text := doubt(reading.values, dialect):
            print(f"smtpstatus: {target}: warning: {text}", file=sys.stderr)
    return status


def _targets(options: Namespace) -> list[str]:
    """The servers of the arguments and of --file, each once. Raises `ValueError`, `OSError`."""
    targets = list(options.targets)
    if options.file is not None:
        try:
            text = (
                sys.stdin.read()
                if options.file == "-"
                else Path(options.file).read_text(encoding="utf-8")
            )
        except UnicodeDecodeError:
            raise ValueError(f"cannot read {options.file}: it is not UTF-8 text") from None
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        targets += [line for line in lines if line]
    if not targets:
        raise ValueError("no server: pass HOST[:PORT], or --file with one per line")
    return list(dict.fromkeys(targets))
