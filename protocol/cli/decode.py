"""`smtpstatus decode`: explains a datagram byte by byte."""

from argparse import Namespace

from protocol.cli.options import dialect_of, dialects_of, print_json
from protocol.cli.status import DONE, REFUSED
from protocol.describe import as_json, as_text, describe

_SEPARATORS = dict.fromkeys(map(ord, " :\n\t"))


def run(options: Namespace) -> int:
    """Returns the exit status: 1 if the datagram is malformed in every reading."""
    digits = "".join(options.hex).translate(_SEPARATORS)
    try:
        datagram = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise ValueError(
            "the datagram is not hexadecimal: write two digits for each byte"
        ) from None
    if options.dialect:
        descriptions = describe(datagram, [dialect_of(options)])
    else:
        descriptions = describe(datagram, dialects_of(options).values(), by_signature=True)
    if options.json:
        print_json(as_json(datagram, descriptions))
    else:
        print("\n\n".join(map(as_text, descriptions)))
    return REFUSED if descriptions[0].faults else DONE
