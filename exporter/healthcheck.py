"""`smtpstatus-exporter --healthcheck`: asks the exporter with the same flags for /-/healthy.

It connects to the first address that the exporter listens on, with TLS if the web configuration has it, and uses no
proxy, regardless of the environment. The certificate is not verified: it is issued for the name that clients use, not
for the address of this machine that is queried.
"""

import http.client
import socket
import ssl
from collections.abc import Mapping
from ipaddress import ip_address

from exporter.configuration.flags import Options
from exporter.http.web_config import WebConfig
from protocol.address import HostPort
from smtpstatus.errors import ConfigError

_TIMEOUT_S = 5.0


def failure(options: Options, environ: Mapping[str, str]) -> str | None:
    """Why the exporter is not healthy, or None if it is. Raises `ConfigError` if it cannot be asked."""
    if options.systemd_socket:
        raise ConfigError("--healthcheck: the address of a socket from systemd is not known here")
    address = options.listen_addresses[0]
    tls = None
    if options.web_config_file:
        tls = WebConfig.load(options.web_config_file, environ).context
    try:
        with _connected(address) as plain:
            if tls is None:
                return _asked(address, plain, options.route_prefix)
            with _client_context().wrap_socket(plain) as secured:
                # Without a client certificate, only the handshake can be checked.
                return (
                    None
                    if _wants_certificate(tls)
                    else _asked(address, secured, options.route_prefix)
                )
    except (OSError, http.client.HTTPException) as error:
        alerted = isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
        if tls and _wants_certificate(tls) and alerted:
            return None  # TLS 1.2 refuses a missing certificate within the handshake
        return f"{address}: {error}"


def _wants_certificate(tls: ssl.SSLContext) -> bool:
    return tls.verify_mode is ssl.CERT_REQUIRED


def _asked(address: str, connected: socket.socket, prefix: str) -> str | None:
    asking = http.client.HTTPConnection("localhost")
    asking.sock = connected
    asking.request("GET", f"{prefix}/-/healthy", headers={"Connection": "close"})
    with asking.getresponse() as answer:
        answer.read(4096)
    return None if answer.status == 200 else f"{address}: status {answer.status}"


def _connected(address: str) -> socket.socket:
    if not address.startswith("unix:"):
        where = HostPort.parse(address)
        return socket.create_connection((_reachable(where.host), where.port), _TIMEOUT_S)
    unix = socket.socket(socket.AF_UNIX)
    try:
        unix.settimeout(_TIMEOUT_S)
        unix.connect(address.removeprefix("unix:"))
    except OSError:
        unix.close()
        raise
    return unix


def _reachable(host: str) -> str:
    """An address that reaches a server which listens on `host`: every address is reached by loopback."""
    try:
        listening = ip_address(host)
    except ValueError:
        return host or "localhost"
    if not listening.is_unspecified:
        return host
    return "127.0.0.1" if listening.version == 4 else "::1"


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
