import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from exporter.http.web_config import WebConfig, WebFile
from smtpstatus.errors import ConfigError
from tests.support.processes import eventually, prometheus, running
from tests.support.real import require

SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = SERVER + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a directory, made with the openssl command."""

    directory: Path
    name: str = "ca"

    def create(self) -> "Authority":
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        self._openssl("-subj", f"/CN={self.name}", "-addext", usage, name=self.name)
        return self

    def issue(self, name: str, alternative: str = "IP:127.0.0.1") -> None:
        """Write NAME.pem and NAME.key."""
        authority = self.directory / self.name
        self._openssl(
            *("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "authorityKeyIdentifier=keyid"),
            name=name,
        )

    def _openssl(self, *arguments: str, name: str) -> None:
        subprocess.run(
            [
                *(require("openssl"), "req", "-x509", "-nodes", "-days", "2"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *(
                    "-out",
                    self.directory / f"{name}.pem",
                    "-keyout",
                    self.directory / f"{name}.key",
                ),
                *arguments,
            ],
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("issued")
    authority = Authority(directory).create()
    authority.issue("server")
    authority.issue("renewed")
    authority.issue("client", "DNS:prometheus.example,IP:0:0:0:0:0:0:0:1")
    authority.issue("stranger", "DNS:stranger.example")
    Authority(directory, "other-ca").create().issue("foreigner", "DNS:prometheus.example")
    return directory


@pytest.fixture
def directory(issued: Path, tmp_path: Path) -> Path:
    """Certificates that a test may change."""
    return shutil.copytree(issued, tmp_path / "web")


def written(directory: Path, text: str) -> Path:
    path = directory / "web.yml"
    path.write_text(text)
    return path


@asynccontextmanager
async def greeting(path: Path) -> AsyncIterator[int]:
    """A TLS server that says hello to whoever gets through the handshake; yields its port."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=WebFile(path).ssl_context())
    async with server:
        yield server.sockets[0].getsockname()[1]


def caller(directory: Path, certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    if certificate:
        context.load_cert_chain(directory / f"{certificate}.pem", directory / f"{certificate}.key")
    return context


async def greeted(port: int, context: ssl.SSLContext) -> str:
    """The common name of the server's certificate. Raises `OSError` when the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        if await reader.read() != b"hello":
            raise ConnectionResetError
        certificate = writer.get_extra_info("peercert")
    finally:
        writer.close()
    return str(dict(pair for entry in certificate["subject"] for pair in entry)["commonName"])


async def refused(port: int, context: ssl.SSLContext) -> bool:
    try:
        await greeted(port, context)
    except OSError:
        return True
    return False


async def test_the_certificate_is_shown(directory: Path) -> None:
    async with greeting(written(directory, SERVER)) as port:
        assert await greeted(port, caller(directory)) == "server"


async def test_a_renewed_certificate_is_shown_from_the_next_connection_on(directory: Path) -> None:
    async with greeting(written(directory, SERVER)) as port:
        for suffix in ("key", "pem"):
            (directory / f"renewed.{suffix}").replace(directory / f"server.{suffix}")

        assert await greeted(port, caller(directory)) == "renewed"


async def test_a_certificate_without_its_key_is_not_taken(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with greeting(written(directory, SERVER)) as port:
        (directory / "renewed.pem").replace(directory / "server.pem")

        assert await greeted(port, caller(directory)) == "server"
        assert await greeted(port, caller(directory)) == "server"

    assert caplog.messages == ["Web configuration refused, the old one stays"]


async def test_a_certificate_that_comes_after_its_name_is_taken_when_it_comes(
    directory: Path,
) -> None:
    async with greeting(written(directory, SERVER)) as port:
        written(directory, SERVER.replace("server.", "later."))
        assert await greeted(port, caller(directory)) == "server"

        for suffix in ("key", "pem"):
            (directory / f"renewed.{suffix}").rename(directory / f"later.{suffix}")

        assert await greeted(port, caller(directory)) == "renewed"


async def test_only_a_client_with_a_certificate_of_the_authority_comes_in(directory: Path) -> None:
    async with greeting(written(directory, MUTUAL)) as port:
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory))
        assert await refused(port, caller(directory, "foreigner"))


async def test_another_authority_holds_from_the_next_connection_on(directory: Path) -> None:
    async with greeting(written(directory, MUTUAL)) as port:
        assert await refused(port, caller(directory, "foreigner"))

        written(directory, MUTUAL.replace("ca.pem", "other-ca.pem"))

        assert await greeted(port, caller(directory, "foreigner")) == "server"
        assert await refused(port, caller(directory, "client"))


async def test_a_client_certificate_can_be_asked_for_without_being_needed(directory: Path) -> None:
    text = MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    async with greeting(written(directory, text)) as port:
        assert await greeted(port, caller(directory)) == "server"
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory, "foreigner"))


@pytest.mark.parametrize("name", ["prometheus.example", "::1"])
async def test_only_a_client_with_an_allowed_name_comes_in(directory: Path, name: str) -> None:
    text = MUTUAL + f"  client_allowed_sans: ['{name}', x.example]\n"
    async with greeting(written(directory, text)) as port:
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory, "stranger"))


async def test_versions_and_ciphers_are_as_configured(directory: Path) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    text = (
        SERVER
        + f"  max_version: TLS12\n  cipher_suites: [{suite}]\n  prefer_server_cipher_suites: false\n"
    )
    async with greeting(written(directory, text)) as port:
        agreed = caller(directory)
        agreed.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        modern, other = caller(directory), caller(directory)
        modern.minimum_version = ssl.TLSVersion.TLSv1_3
        other.maximum_version = ssl.TLSVersion.TLSv1_2
        other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")

        assert await greeted(port, agreed) == "server"
        assert await refused(port, modern)
        assert await refused(port, other)


def test_tls_is_not_switched_while_running(directory: Path) -> None:
    web = WebFile(written(directory, ""))
    assert web.ssl_context() is None

    written(directory, SERVER)

    with pytest.raises(ConfigError, match="restart"):
        web.reload()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_server_config: {}", "tls_server_config: missing key cert_file"),
        (SERVER.replace("server.pem", "no.pem"), "cert_file: DIR/no.pem cannot be read: No such"),
        (SERVER.replace("server.key", "ca.key"), "DIR/server.pem and DIR/ca.key are no"),
        (SERVER.replace("server.key", "server.pem"), "are no certificate with its key in PEM"),
        (SERVER + "  key: inline", "key: not supported here: write the key to a file"),
        (SERVER + "  min_version: TLS10", "'TLS10' is not one of TLS12, TLS13"),
        (SERVER + "  min_version: TLS13\n  max_version: TLS12", "max_version is below"),
        (SERVER + "  cipher_suites: [RC4]", "cipher_suites[0]: unknown cipher"),
        (SERVER + "  client_auth_type: Maybe", "'Maybe' is not one of NoClientCert"),
        (SERVER + "  client_auth_type: RequireAnyClientCert", "proves nothing: use RequireAnd"),
        (SERVER + "  client_auth_type: RequireAndVerifyClientCert", "client_ca_file is missing"),
        (SERVER + "  client_ca_file: ca.pem", "no effect without client_auth_type"),
        (SERVER + "  client_allowed_sans: [a]", "no effect without client_auth_type"),
        (MUTUAL.replace("ca.pem", "ca.key"), "DIR/ca.key holds no certificate in PEM"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    directory: Path, text: str, expected: str
) -> None:
    expected = expected.replace("DIR", str(directory))

    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        WebConfig.load(written(directory, text))

    assert "\n" not in str(caught.value)


def test_a_key_with_a_password_is_refused_and_not_asked_for_at_the_terminal(
    directory: Path,
) -> None:
    key = directory / "server.key"
    subprocess.run(
        [require("openssl"), "ec", "-aes128", "-passout", "pass:x", "-in", key, "-out", key],
        check=True,
        capture_output=True,
    )

    with pytest.raises(ConfigError, match="without a password"):
        WebConfig.load(written(directory, SERVER))


def test_prometheus_scrapes_the_command_over_tls_with_a_certificate_and_a_password(
    directory: Path,
) -> None:
    digest = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
    web = written(directory, f"{MUTUAL}basic_auth_users: {{prometheus: {digest}}}\n")
    configuration = f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: exporter
    scheme: https
    tls_config:
      ca_file: {directory}/ca.pem
      cert_file: {directory}/client.pem
      key_file: {directory}/client.key
    basic_auth: {{username: prometheus, password: open sesame}}
    static_configs: [{{targets: ["ADDRESS"]}}]
"""
    with running(
        "smtpstatus-exporter",
        "--web.listen-address=127.0.0.1:0",
        f"--web.config.file={web}",
        SMTPSTATUS_TARGET="127.0.0.1:9",
        SMTPSTATUS_TOKEN="secretpa",
    ) as process:
        address = process.says(r"Listening.*address=\"?(127\.0\.0\.1:\d+)")[1]
        with prometheus(directory, configuration.replace("ADDRESS", address)) as scraper:
            assert eventually(lambda: scraper.value("up")) == 1
