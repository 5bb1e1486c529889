"""Where mail comes from besides SMTP, and where it goes: LMTP, a next hop, users (docs/filter.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from protocol.address import HostPort
from reference_server.address import Address, parse_path
from reference_server.listen_address import UnixAddress
from reference_server.relay.next_hop import NextHop, Protocol
from smtpstatus.duration import parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.flags import Flag, Given, positive

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Route:
    """Without a `next_hop` messages are stored in Maildirs, for `users` and `catch_all`."""

    lmtp: HostPort | UnixAddress | None
    next_hop: NextHop | None
    hop_connections: int
    hop_timeout_s: float
    relay_from: tuple[Network, ...]
    spool: Path | None
    users: tuple[str, ...]
    catch_all: str | None

    def may_relay(self, client: str) -> bool:
        """Whether a client may use the next hop and send XFORWARD: a numeric address, "" on a Unix socket."""
        if not client:
            return True
        try:
            address = ip_address(client.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self.relay_from)


FLAGS: Sequence[Flag] = (
    Flag("lmtp.listen-address", "", "HOST:PORT", "LMTP listen address, also unix:/path"),
    Flag("next-hop", "", "URL", "forward to smtp://HOST:PORT, lmtp://HOST:PORT, lmtp+unix:/path"),
    Flag("next-hop.timeout", "3m", "DURATION", "maximum time to forward one message"),
    Flag("next-hop.max-connections", "20", "N", "maximum connections to the next hop"),
    Flag(
        "relay-from",
        "",
        "NETWORK",
        "clients that may use the next hop; repeatable (default: 127.0.0.0/8 and ::1)",
        r"[,\s]+",
    ),
    Flag("spool", "", "DIR", "directory for large messages (default: --maildir, or /tmp)"),
    Flag("user", "", "NAME", "user with a Maildir; repeatable (default: all)", r"[,\s]+"),
    Flag("catch-all", "", "NAME", "user whose Maildir receives mail for all others"),
)
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))
_STORING = ("maildir", "domain", "user", "catch-all")


def parse_route(given: Given) -> Route:
    """Raises `ConfigError`, also where flags exclude each other."""
    route = Route(
        lmtp=given.one("lmtp.listen-address", _listen_address),
        next_hop=given.one("next-hop", lambda text: NextHop.parse(text) if text else None),
        hop_connections=given.one("next-hop.max-connections", positive),
        hop_timeout_s=given.one("next-hop.timeout", parse_duration),
        relay_from=given.each("relay-from", _network) or _LOOPBACK,
        spool=given.one("spool", lambda text: Path(text).absolute() if text else None),
        users=given.each("user", _user),
        catch_all=given.one("catch-all", lambda text: _user(text) if text else None),
    )
    if route.next_hop:
        for name in _STORING:
            if given.is_set(name):
                raise ConfigError(f"--{name}: not with --next-hop, which forwards all mail")
        smtp = given.is_set("smtp.listen-address")
        if smtp and route.next_hop.protocol is Protocol.LMTP:
            # SMTP has one reply to the content, and an LMTP server has one for each recipient.
            raise ConfigError(
                "--smtp.listen-address: requires an smtp:// next hop: use --lmtp.listen-address"
            )
        if not (smtp or route.lmtp):
            raise ConfigError(
                "--next-hop: requires --lmtp.listen-address or --smtp.listen-address"
            )
    return route


def _listen_address(text: str) -> HostPort | UnixAddress | None:
    if not text:
        return None
    return UnixAddress.parse(text) if text.startswith("unix:") else HostPort.parse(text)


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"invalid network {text!r}: expected a form like 192.0.2.0/24") from None


def _user(text: str) -> str:
    try:
        address, rest = parse_path(f"<{text}@localhost>")
    except ValueError:
        address, rest = None, ""
    if not isinstance(address, Address) or rest:
        raise ValueError(f"invalid user {text!r}: expected a local part such as ann")
    return address.local
