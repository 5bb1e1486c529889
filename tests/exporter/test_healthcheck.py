"""`--healthcheck` against the installed exporter, as a container's health check runs it."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from exporter.configuration import flags
from exporter.healthcheck import failure
from smtpstatus.errors import ConfigError
from tests.exporter.test_main import ANYWHERE, ONE_TARGET, address, exporter
from tests.exporter.test_tls import Authority
from tests.support.processes import COMMANDS


def checked(*arguments: str) -> str | None:
    return failure(flags.parse(arguments, {}), {})


def test_the_healthcheck_ignores_proxy_variables() -> None:
    with exporter(*ANYWHERE, **ONE_TARGET) as process:
        command = [str(COMMANDS / "smtpstatus-exporter"), "--healthcheck"]
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
        ended = subprocess.run(
            [*command, f"--web.listen-address={address(process)}"],
            env={**os.environ, **proxies},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_healthcheck_uses_loopback_for_the_first_wildcard_address() -> None:
    for wildcard in ("", "0.0.0.0", "[::]"):
        with exporter(f"--web.listen-address={wildcard}:0", **ONE_TARGET) as process:
            port = address(process).rpartition(":")[2]
            assert (
                checked(f"--web.listen-address={wildcard}:{port}", "--web.listen-address=:1")
                is None
            )


def test_the_healthcheck_uses_a_unix_socket(tmp_path: Path) -> None:
    listening = f"--web.listen-address=unix:{tmp_path}/socket"
    with exporter(listening, **ONE_TARGET) as process:
        process.says("Listening")
        assert checked(listening) is None
    assert "No such file" in (checked(f"--web.listen-address=unix:{tmp_path}/none") or "")


@pytest.mark.parametrize("client_certificate", [False, True])
def test_the_healthcheck_uses_tls_if_configured(tmp_path: Path, client_certificate: bool) -> None:
    authority = Authority(tmp_path).create()
    authority.issue("server")
    web = tmp_path / "web.yml"
    text = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
    if client_certificate:
        text += f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {authority.name}.pem\n"
    web.write_text(text)
    given = f"--web.config.file={web}"
    with exporter(*ANYWHERE, given, **ONE_TARGET) as process:
        listening = f"--web.listen-address={address(process)}"
        assert checked(listening, given) is None
        assert checked(listening) is not None  # without TLS, the server does not answer


def test_an_absent_or_silent_exporter_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.healthcheck._TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listening = f"--web.listen-address=127.0.0.1:{silent.getsockname()[1]}"
        assert "timed out" in (checked(listening) or "")
    assert "refused" in (checked(listening) or "")


def test_the_healthcheck_cannot_use_sockets_of_systemd() -> None:
    with pytest.raises(ConfigError, match="--healthcheck"):
        checked("--web.systemd-socket")
