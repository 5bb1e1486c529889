"""Peak memory of an exporter with 20 targets, under clients without a password that fill every connection."""

import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.soak.conftest import Scale
from tests.support.gauge import usage
from tests.support.processes import running
from tests.support.real import require

pytestmark = pytest.mark.soak

PEAK_MIB = 128
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
FLOODS = {
    "a handshake": b"\x16\x03\x01\x02\x00",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 30_000,
    "many fields": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"%d:a\r\n" % n for n in range(98)),
    "unread pages": GET % b"/docs" * 200,
    "unread metrics": GET % b"/metrics" * 200,
    "unread targets": GET % b"/api/v1/targets" * 200,
    "a body": b"PUT /api/v1/targets/t1/transforms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000000\r\n\r\n" + b"x" * 100_000,
}


def flood(port: int, data: bytes, connections: int, tls: ssl.SSLContext | None) -> ExitStack:
    """Opens connections that send and never read; closing the result closes them."""
    opened = ExitStack()
    clients: list[socket.socket] = []
    for _ in range(connections):
        with suppress(OSError):
            client = socket.create_connection(("127.0.0.1", port), timeout=20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            clients.append(opened.enter_context(tls.wrap_socket(client) if tls else client))
            clients[-1].setblocking(False)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for client in clients:
            with suppress(OSError):
                client.send(data)
        time.sleep(0.1)
    return opened


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("kind", FLOODS)
def test_memory_stays_below_its_limit(
    tmp_path: Path, scale: Scale, kind: str, with_tls: bool
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "targets:\n"
        + "".join(
            f"  - {{name: t{n}, address: '127.0.0.1:{9000 + n}', token: secretpa}}\n"
            for n in range(20)
        )
    )
    arguments = [f"--config.file={config}", "--web.listen-address=127.0.0.1:0"]
    context = None
    if with_tls:
        subprocess.run(
            [
                *(require("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=x"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-out", tmp_path / "s.pem", "-keyout", tmp_path / "s.key"),
            ],
            check=True,
            capture_output=True,
        )
        web = tmp_path / "web.yml"
        web.write_text("tls_server_config: {cert_file: s.pem, key_file: s.key}\n")
        arguments.append(f"--web.config.file={web}")
        if kind != "a handshake":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    with running("smtpstatus-exporter", *arguments) as process:
        port = int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1])
        connections = scale(140, 60) if with_tls else scale(1280, 200)
        with flood(port, FLOODS[kind], connections, context):
            peak = usage(process.pid).peak_mib

    assert peak < PEAK_MIB
    assert "Traceback" not in process.output
