"""Name server for tests, on UDP: `python -m tests.support.nameserver ADDRESS ZONE.json`.

The zone maps a name to a list of IPv4 addresses, whose order rotates with each answer, to "silent" (no answer), or to
"flapping" (an answer to every second query). Other names do not exist. The file is read for each query, so a test can
change it.
"""

import ipaddress
import itertools
import json
import socket
import struct
import sys
from pathlib import Path

_HEADER = struct.Struct("!HHHHHH")
_A = 1


def answer(query: bytes, zone: dict[str, list[str] | str], number: int) -> bytes | None:
    """Returns the response to a query, None for no response (RFC 1035, 4.1)."""
    identifier, *_ = _HEADER.unpack_from(query)
    labels, at = [], _HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = query[_HEADER.size : at + 5]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    found = zone.get(".".join(labels).lower())
    if found == "silent" or (isinstance(found, str) and number % 2):
        return None
    addresses = found if isinstance(found, list) else zone["flapping-address"] if found else None
    if addresses is None:
        return _HEADER.pack(identifier, 0x8583, 1, 0, 0, 0) + question
    turn = number % len(addresses)
    records = [
        struct.pack("!HHHIH", 0xC00C, _A, 1, 0, 4) + ipaddress.ip_address(address).packed
        for address in [*addresses[turn:], *addresses[:turn]]
        if kind == _A
    ]
    return _HEADER.pack(identifier, 0x8580, 1, len(records), 0, 0) + question + b"".join(records)


def serve(address: str, zone: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((address, 53))
        print("ready", flush=True)
        for number in itertools.count():
            query, source = opened.recvfrom(512)
            response = answer(query, json.loads(zone.read_text()), number // 2)
            if response is not None:
                opened.sendto(response, source)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
