"""Other exporters, each with a probe of one request and one response."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.process import Process, running

BLACKBOX = "prometheus-blackbox-exporter"
SNMP = "prometheus-snmp-exporter"

_BLACKBOX = """\
modules:
  dns:
    prober: dns
    dns: {query_name: example.org, transport_protocol: udp, preferred_ip_protocol: ip4}
  tcp:
    prober: tcp
    tcp: {preferred_ip_protocol: ip4}
"""
_SNMP = """\
four:
  get: [1.3.6.1.2.1.1.3.0, 1.3.6.1.2.1.11.1.0, 1.3.6.1.2.1.11.2.0, 1.3.6.1.2.1.11.3.0]
  metrics:
    - {name: sysUpTime, oid: 1.3.6.1.2.1.1.3, type: gauge, help: x}
    - {name: snmpInPkts, oid: 1.3.6.1.2.1.11.1, type: counter, help: x}
    - {name: snmpOutPkts, oid: 1.3.6.1.2.1.11.2, type: counter, help: x}
    - {name: snmpInBadVersions, oid: 1.3.6.1.2.1.11.3, type: counter, help: x}
  version: 2
  auth: {community: public}
"""
_SNMPD = "agentAddress udp:127.0.0.1:{port}\nrocommunity public 127.0.0.1\n"


def installed(*programs: str) -> bool:
    return all(map(shutil.which, programs))


@contextmanager
def blackbox(folder: Path) -> Iterator[tuple[Process, int]]:
    """Runs blackbox_exporter with the modules `dns` and `tcp`; yields it and its port."""
    file = folder / "blackbox.yml"
    file.write_text(_BLACKBOX)
    with _serving(BLACKBOX, file) as served:
        yield served


@contextmanager
def snmp(folder: Path) -> Iterator[tuple[Process, int, int]]:
    """Runs snmp_exporter with a module that reads four numbers, and snmpd; yields it and both ports."""
    file, daemon, port = folder / "snmp.yml", folder / "snmpd.conf", free_port(socket.SOCK_DGRAM)
    file.write_text(_SNMP)
    daemon.write_text(_SNMPD.format(port=port))
    command = ("snmpd", "-f", "-Le", "-C", "-c", daemon)
    environment = {"SNMP_PERSISTENT_DIR": str(folder / "snmpd"), "MIBS": ""}
    with running(command, environment) as agent:
        agent.says("NET-SNMP version")
        with _serving(SNMP, file) as (process, web):
            yield process, web, port


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Returns a free port, for programs that cannot choose one and report it."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _serving(program: str, file: Path) -> Iterator[tuple[Process, int]]:
    port = free_port()
    arguments = (program, f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}")
    with running(arguments) as process:
        process.listens(port)
        yield process, port
