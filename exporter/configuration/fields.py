"""Single fields of the configuration, as text: each reader returns the value or raises `ValueError` with the remedy."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton

from protocol.address import HostPort, numeric
from protocol.dialect import Dialect
from smtpstatus.document import Value

Network = IPv4Network | IPv6Network

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})", re.ASCII)
_UNEXPANDED = frozenset("$(){}<>")
_MAPPED, _BROADCAST = bytes(10) + b"\xff\xff", b"\xff" * 4
_TAKEN_LABELS = ("target", "reason", "instance", "job")


def address(text: str, dialect: Dialect) -> HostPort:
    """Raises `ValueError`."""
    address = HostPort.parse(text, dialect.default_port)
    if not address.host or not address.port:
        raise ValueError(
            f"invalid address {text!r}: expected host:port, with a port from 1 to 65535"
        )
    if not _UNEXPANDED.isdisjoint(address.host):
        raise ValueError(f"invalid address {text!r}: variables are not expanded here")
    if not all(_is_of_one_server(host) for host, *_ in numeric(address)):
        raise ValueError(f"invalid address {text!r}: expected the address of one server")
    return address


def _is_of_one_server(host: str) -> bool:
    """Whether a numeric address is neither unspecified, multicast nor broadcast.

    Compares bytes, because the `ipaddress` module takes a third of the time of loading a large configuration.
    """
    if ":" in host:
        octets = inet_pton(AF_INET6, host)
        if not octets.startswith(_MAPPED):
            return any(octets) and octets[0] != 0xFF
        octets = octets.removeprefix(_MAPPED)
    else:
        octets = inet_pton(AF_INET, host)
    return any(octets) and not 224 <= octets[0] < 240 and octets != _BROADCAST


def name(text: str) -> str:
    if not text.isprintable() or not text.strip() or "/" in text or len(text) > 200:
        raise ValueError("expected 1 to 200 printable characters without a slash")
    if text in (".", ".."):
        raise ValueError("'.' and '..' are no names: in a URL they mean a directory")
    return text


def network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}: expected a network such as 10.0.0.0/8 or fd00::/8") from None


def ports(value: Value) -> tuple[range, ...]:
    """A list of ports and of ranges such as 7030-7039."""
    found = tuple(_port_range(item) for item in value.items())
    if not found:
        value.refuse("expected at least one port, or a range such as 7030-7039")
    return found


def _port_range(value: Value) -> range:
    match = _RANGE.fullmatch(str(value.node.value))
    if not match:
        port = value.integer(1, 65535)
        return range(port, port + 1)
    low, high = int(match[1]), int(match[2])
    if not 1 <= low <= high <= 65535:
        value.refuse("expected a range of ports from 1 to 65535, the lower one first")
    return range(low, high + 1)


def origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454 6.2): in lower case, without the scheme's own port."""
    match = re.fullmatch(
        r"(https?)://([^/\s*:@?#\[\]]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?", text, re.I | re.ASCII
    )
    if not match:
        raise ValueError(f"invalid origin {text!r}: expected the form http://grafana.example:3000")
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            raise ValueError(f"invalid origin {text!r}: its host is not a domain name") from None
    default = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" if port in (None, default) else f"{scheme}://{host}:{int(port)}"


def labels(value: Value) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for name, entry in value.entries().items():
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            entry.refuse(
                "invalid label name: expected letters, digits and _, not beginning with __"
            )
        if name in _TAKEN_LABELS:
            entry.refuse(
                f"the label {name} is set by the exporter or by Prometheus: choose another name"
            )
        labels[name] = entry.text()
    return labels
