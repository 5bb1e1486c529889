"""`smtpstatus transforms`: reads the state of the transforms, or sets it."""

from argparse import Namespace

from protocol.cli.client import ask, peer_of, report, set_transforms
from protocol.cli.options import dialect_of, print_json
from protocol.vocabulary import Command


def run(options: Namespace) -> int:
    """Returns the exit status. Prints the state that the server reported last."""
    dialect = dialect_of(options)
    if not dialect.can_switch:
        raise ValueError(
            f"dialect {dialect.name} has no transforms: it lacks a command to read, enable or disable them"
        )
    peer = peer_of(options, options.target, dialect)
    if options.state is None:
        reading = ask(options, peer, Command.TRANSFORMS)
    else:
        reading = set_transforms(options, peer, options.state == "on")
    state = None if reading.error else bool(reading[Command.TRANSFORMS])
    if options.json:
        failure = {"error": str(reading.error)} if reading.error else {}
        print_json({"target": options.target, "enabled": state, **failure})
    elif state is not None:
        print(f"transforms {'on' if state else 'off'}")
    return report(options.target, reading.error)
