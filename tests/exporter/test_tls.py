import asyncio
import os
import re
import shutil
import ssl
import subprocess
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from exporter.http.web_config import WebConfig
from exporter.http.web_file import WebFile
from smtpstatus.errors import ConfigError
from tests.exporter.running import running_exporter
from tests.support.processes import Process, eventually, prometheus, running
from tests.support.real import require

SERVER = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = SERVER + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"


@dataclass(frozen=True)
class Authority:
    """Certificate authority in a directory, created with the openssl command."""

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
    authority.issue("other", "DNS:other.example")
    Authority(directory, "other-ca").create().issue("foreigner", "DNS:prometheus.example")
    return directory


@pytest.fixture
def directory(issued: Path, tmp_path: Path) -> Path:
    """Directory of certificates that a test may change."""
    return shutil.copytree(issued, tmp_path / "web")


def written(directory: Path, text: str) -> Path:
    path = directory / "web.yml"
    path.write_text(text)
    return path


@asynccontextmanager
async def greeting(path: Path) -> AsyncIterator[int]:
    """Serves with this web configuration, reread for each connection; yields the port."""
    web = WebFile(path)
    web.fresh_s = 0
    config = path.with_name("exporter.yml")
    config.write_text("targets: []")
    async with running_exporter(config, web=web) as exporter:
        yield exporter.port


def caller(directory: Path, certificate: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    if certificate:
        context.load_cert_chain(directory / f"{certificate}.pem", directory / f"{certificate}.key")
    return context


async def greeted(port: int, context: ssl.SSLContext) -> str:
    """Returns the common name of the server's certificate. Raises `OSError` if the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        if not (await reader.read()).endswith(b"Healthy\n"):
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


async def test_the_certificate_is_presented(directory: Path) -> None:
    async with greeting(written(directory, SERVER)) as port:
        assert await greeted(port, caller(directory)) == "server"


async def test_a_renewed_certificate_is_presented_from_the_next_connection_on(
    directory: Path,
) -> None:
    async with greeting(written(directory, SERVER)) as port:
        for suffix in ("key", "pem"):
            (directory / f"renewed.{suffix}").replace(directory / f"server.{suffix}")

        assert await greeted(port, caller(directory)) == "renewed"


async def test_a_certificate_without_its_key_is_not_used(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with greeting(written(directory, SERVER)) as port:
        (directory / "renewed.pem").replace(directory / "server.pem")

        assert await greeted(port, caller(directory)) == "server"
        assert await greeted(port, caller(directory)) == "server"

    assert caplog.messages == ["Web configuration rejected; keeping the previous one"]


async def test_a_certificate_that_appears_after_the_start_is_used(
    directory: Path,
) -> None:
    async with greeting(written(directory, SERVER)) as port:
        written(directory, SERVER.replace("server.", "later."))
        assert await greeted(port, caller(directory)) == "server"

        for suffix in ("key", "pem"):
            (directory / f"renewed.{suffix}").rename(directory / f"later.{suffix}")

        assert await greeted(port, caller(directory)) == "renewed"


async def test_only_a_client_with_a_certificate_of_the_authority_is_accepted(
    directory: Path,
) -> None:
    async with greeting(written(directory, MUTUAL)) as port:
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory))
        assert await refused(port, caller(directory, "foreigner"))


async def test_a_changed_authority_applies_from_the_next_connection_on(directory: Path) -> None:
    async with greeting(written(directory, MUTUAL)) as port:
        assert await refused(port, caller(directory, "foreigner"))

        written(directory, MUTUAL.replace("ca.pem", "other-ca.pem"))

        assert await greeted(port, caller(directory, "foreigner")) == "server"
        assert await refused(port, caller(directory, "client"))


async def test_a_client_certificate_can_be_requested_without_being_required(
    directory: Path,
) -> None:
    text = MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    async with greeting(written(directory, text)) as port:
        assert await greeted(port, caller(directory)) == "server"
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory, "foreigner"))


@pytest.mark.parametrize("name", ["prometheus.example", "::1"])
async def test_only_a_client_with_an_allowed_name_is_accepted(directory: Path, name: str) -> None:
    text = MUTUAL + f"  client_allowed_sans: ['{name}', x.example]\n"
    async with greeting(written(directory, text)) as port:
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory, "other"))


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


@pytest.mark.parametrize(
    ("setting", "prefers"),
    [
        ("", True),
        ("  prefer_server_cipher_suites: true\n", True),
        ("  prefer_server_cipher_suites: false\n", False),
    ],
)
def test_the_servers_order_of_ciphers_is_used_unless_switched_off(
    directory: Path, setting: str, prefers: bool
) -> None:
    context = WebConfig.load(written(directory, SERVER + setting)).context

    assert context is not None
    assert bool(context.options & ssl.OP_CIPHER_SERVER_PREFERENCE) is prefers


def test_tls_is_not_switched_while_running(directory: Path) -> None:
    web = WebFile(written(directory, ""))
    assert web.known.context is None

    written(directory, SERVER)

    with pytest.raises(ConfigError, match="restart"):
        web.reload()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_server_config: {key: x}", "tls_server_config: missing key cert or cert_file"),
        (SERVER.replace("server.key", '""'), "tls_server_config: missing key key or key_file"),
        (SERVER.replace("server.pem", "no.pem"), "cert_file: cannot read DIR/no.pem: No such"),
        (SERVER.replace("server.pem", "fifo"), "cert_file: cannot read DIR/fifo: not a regular"),
        (SERVER.replace("server.key", "ca.key"), "DIR/server.pem and DIR/ca.key are not"),
        (SERVER.replace("server.key", "server.pem"), "are not a certificate with its key in PEM"),
        (SERVER + "  max_version: TLS11", "'TLS11' is not one of TLS12, TLS13"),
        (SERVER + "  min_version: TLS111", "'TLS111' is not one of TLS12, TLS13"),
        (SERVER + "  min_version: TLS13\n  max_version: TLS12", "max_version is below"),
        (SERVER + "  cipher_suites: [RC4]", "cipher_suites[0]: unknown cipher"),
        (SERVER + "  curve_preferences: [CurveP257]", "curve_preferences[0]: unknown curve"),
        (
            SERVER + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]",
            "all are of TLS 1.3",
        ),
        (SERVER + "  client_auth_type: Maybe", "'Maybe' is not one of NoClientCert"),
        (SERVER + "  client_ca_file: ca.pem", "requires client_auth_type: RequireAndVerify"),
        (SERVER + "  client_allowed_sans: [a]", "requires client_auth_type: RequireAndVerify"),
        (MUTUAL.replace("ca.pem", "ca.key"), "DIR/ca.key has no certificate in PEM"),
    ],
)
def test_an_error_is_reported_with_file_and_key(directory: Path, text: str, expected: str) -> None:
    expected = expected.replace("DIR", str(directory))
    os.mkfifo(directory / "fifo")

    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        WebConfig.load(written(directory, text))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ("", None),
        ('  client_auth_type: ""\n', None),
        ("  client_auth_type: NoClientCert\n", None),
        ("  client_auth_type: RequestClientCert\n", "accepts any client"),
        ("  client_auth_type: RequireAnyClientCert\n", "accepts any client"),
        ("  client_auth_type: VerifyClientCertIfGiven\n", None),
        ("  client_auth_type: RequireAndVerifyClientCert\n", None),
        ("  client_ca_file:\n  client_allowed_sans:\n", None),
        ("  cipher_suites: []\n  curve_preferences:\n", None),
        (
            "  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n",
            None,
        ),
        ("  curve_preferences: [CurveP521]\n", None),
        ("  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n", "only one"),
        ("  min_version: TLS10\n", "lowest version is TLS12"),
        ("  min_version: TLS12\n  max_version: TLS13\n", None),
    ],
)
def test_files_of_the_official_exporters_are_accepted(
    directory: Path, more: str, warning: str | None
) -> None:
    config = WebConfig.load(written(directory, SERVER + more))

    assert config.context is not None
    assert len(config.warnings) == (warning is not None)
    assert (warning or "") in "".join(config.warnings)


@pytest.mark.parametrize(
    "text",
    ["tls_server_config:", "tls_server_config: {}", "tls_server_config: {min_version: TLS12}"],
)
def test_a_section_that_names_no_certificate_does_not_turn_tls_on(
    directory: Path, text: str
) -> None:
    assert WebConfig.load(written(directory, text)).context is None


async def test_certificates_may_be_inline(directory: Path) -> None:
    def inline(name: str) -> str:
        return "|\n" + textwrap.indent((directory / name).read_text(), "    ")

    text = (
        f"tls_server_config:\n  cert: {inline('server.pem')}\n  key: {inline('server.key')}\n"
        f"  client_ca: {inline('ca.pem')}\n  client_auth_type: RequireAndVerifyClientCert\n"
    )
    async with greeting(written(directory, text)) as port:
        assert await greeted(port, caller(directory, "client")) == "server"
        assert await refused(port, caller(directory))


def test_certificates_may_be_credentials_of_systemd(directory: Path) -> None:
    text = SERVER.replace("server.", "$CREDENTIALS_DIRECTORY/server.")
    path = directory / "elsewhere" / "web.yml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
        WebConfig.load(path)

    environ = {"CREDENTIALS_DIRECTORY": str(directory)}

    assert WebConfig.load(path, environ).context is not None


async def test_a_list_of_only_tls_1_3_ciphers_excludes_tls_1_2(directory: Path) -> None:
    text = SERVER + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"
    async with greeting(written(directory, text)) as port:
        old = caller(directory)
        old.maximum_version = ssl.TLSVersion.TLSv1_2

        assert await greeted(port, caller(directory)) == "server"
        assert await refused(port, old)


async def test_failed_handshakes_are_logged_once_a_minute_with_client_and_reason(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with greeting(written(directory, SERVER)) as port:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.read()
            writer.close()

    (record,) = [r for r in caplog.records if r.message == "TLS handshake failed"]
    fields = vars(record)
    assert (fields["client"], fields["err"]) == ("127.0.0.1", "HTTP_REQUEST")


async def test_a_client_that_does_not_complete_the_handshake_is_disconnected(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.http.server._HANDSHAKE_TIMEOUT_S", 0.2)
    async with greeting(written(directory, SERVER)) as port, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_connections_in_the_handshake_count_against_the_limit(directory: Path) -> None:
    config = directory / "exporter.yml"
    config.write_text("targets: []")
    web = WebFile(written(directory, SERVER))
    async with running_exporter(config, web=web) as exporter, AsyncExitStack() as stack:
        exporter.limits.most_connections = lambda: 2
        opened = [await asyncio.open_connection("127.0.0.1", exporter.port) for _ in range(3)]
        for _, writer in opened:
            stack.callback(writer.close)
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await opened[0][0].read() == b""

        assert await greeted(exporter.port, caller(directory)) == "server"


def test_a_key_with_a_password_is_rejected_without_a_prompt(
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


@contextmanager
def command(web: Path) -> Iterator[Process]:
    """The installed command with a web configuration."""
    with running(
        "smtpstatus-exporter",
        "--web.listen-address=127.0.0.1:0",
        f"--web.config.file={web}",
        SMTPSTATUS_TARGET="127.0.0.1:9",
        SMTPSTATUS_TOKEN="secretpa",
    ) as process:
        yield process


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
    with command(web) as process:
        address = process.says(r"Listening.*address=\"?(127\.0\.0\.1:\d+)")[1]
        with prometheus(directory, configuration.replace("ADDRESS", address)) as scraper:
            assert eventually(lambda: scraper.value("up")) == 1


def test_a_setting_without_effect_is_logged_once_at_the_start(directory: Path) -> None:
    web = written(directory, f"{SERVER}  min_version: TLS10\n")
    with command(web) as process:
        process.says("Listening")
        [line] = [line for line in process.lines if "has no effect" in line]

    assert re.fullmatch(
        r'time=\S+ level=warn msg="Web configuration setting has no effect" file=\S+'
        r' err="min_version: the lowest version is TLS12"',
        line,
    )
