"""Random tokens and passwords in every place that accepts one appear in no output of the running programs.

A part is the secret, its complement or a variant with one bit changed, or four consecutive bytes of these: as text, in
hexadecimal, in base64 or percent-encoded.
"""

import base64
import json
import secrets
import socket
import string
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from exporter.configuration import config
from smtpstatus.errors import ConfigError
from tests.support.processes import COMMANDS, running

ROOT = Path(__file__).parents[2]
PAGES = b"".join(path.read_bytes() for path in sorted((ROOT / "exporter/pages").glob("*.*")))
FRAGMENT = 4


def variants(secret: bytes) -> Iterator[bytes]:
    """The secret, its complement, and every variant with one bit changed."""
    yield secret
    yield bytes(octet ^ 0xFF for octet in secret)
    for place in range(len(secret)):
        for bit in range(8):
            changed = bytearray(secret)
            changed[place] ^= 1 << bit
            yield bytes(changed)


def forms(secret: bytes) -> Iterator[bytes]:
    """What no output may contain, in lower case where case does not matter."""
    for variant in variants(secret):
        for start in range(len(variant) - FRAGMENT + 1):
            fragment = variant[start : start + FRAGMENT]
            yield fragment
            yield fragment.hex().encode()
            yield fragment.hex(" ").encode()
            yield "".join(f"%{octet:02x}" for octet in fragment).encode()
        for shift in range(3):
            aligned = (b"\0" * shift + variant)[: (shift + len(variant)) // 3 * 3]
            yield base64.b64encode(aligned)[4 if shift else 0 :]


def canary(length: int = 8) -> bytes:
    """Letters in alternating case, which occur in no page or text by chance."""
    while True:
        letters = [
            secrets.choice(string.ascii_lowercase if at % 2 else string.ascii_uppercase)
            for at in range(length)
        ]
        found = "".join(letters).encode()
        if not any(form in PAGES for form in forms(found)):
            return found


def assert_hidden(outputs: dict[str, bytes], planted: dict[str, bytes]) -> None:
    for name, secret in planted.items():
        looked_for = set(forms(secret))
        for place, output in outputs.items():
            for text in (output, output.lower()):
                found = [form for form in looked_for if form in text]
                assert not found, f"{name} is in {place}: {found[:3]}"


@pytest.mark.parametrize(
    "variant", [bytes, lambda s: bytes(o ^ 255 for o in s), lambda s: s[:3] + b"e" + s[4:]]
)
@pytest.mark.parametrize(
    "shown", [bytes, lambda s: s[2:6], lambda s: s.hex().encode(), lambda s: s.hex(" ").upper().encode(),
              lambda s: base64.b64encode(b"ab" + s + b"c"), lambda s: urllib.parse.quote_from_bytes(s, "").encode()]
)  # fmt: skip
def test_a_secret_in_any_form_is_found(
    variant: Callable[[bytes], bytes], shown: Callable[[bytes], bytes]
) -> None:
    secret = b"AbCdEfGh"
    with pytest.raises(AssertionError, match="token is in log"):
        assert_hidden({"log": b"before " + shown(variant(secret)) + b" after"}, {"token": secret})
    assert_hidden({"log": b"Another text"}, {"token": secret})


@contextmanager
def answering(answer: str) -> Iterator[str]:
    """A UDP port that echoes every datagram, answers none, or echoes it as a good response."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    datagram, client = listening.recvfrom(2048)
                    if answer == "echo":
                        listening.sendto(datagram, client)
                    elif answer == "leak":
                        listening.sendto(datagram[:5] + b"\x01" + datagram[5:13], client)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def typed(*arguments: str, **environment: str) -> bytes:
    ended = subprocess.run(
        [COMMANDS / arguments[0], *arguments[1:]],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return ended.stdout + ended.stderr


def fetched(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> bytes:
    """The status line's code, the headers and the body of a response."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, names, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return bytes(answer.headers) + bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return bytes(error.headers) + error.read()


def test_the_exporter_and_the_server_hide_every_secret(tmp_path: Path) -> None:
    planted = {
        name: canary() for name in ("server", "other", "file", "variable", "network", "wrong")
    } | {"api": canary(24), "password": canary(12), "guess": canary(12)}
    text = {name: secret.decode() for name, secret in planted.items()}
    (tmp_path / "file").write_text(text["file"] + "\n")
    digest = bcrypt.hashpw(planted["password"], bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{prom: '{digest}'}}\n")
    file = tmp_path / "config.yml"
    outputs: dict[str, bytes] = {}

    with (
        answering("echo") as echo,
        answering("leak") as leak,
        answering("none") as silent,
        running(
            "smtpstatus-server",
            *("--smtp.listen-address=127.0.0.1:0", "--status.listen-address=127.0.0.1:0"),
            *(f"--maildir={tmp_path}/mail", "--log.level=debug"),
            SMTPSTATUS_TOKEN=text["server"],
        ) as server,
    ):
        status = server.says(r"status (127\.0\.0\.1:\d+)")[1]
        port = status.rpartition(":")[2]
        file.write_text(
            f"timeout: 200ms\nattempts: 2\ntargets:\n"
            f"  - {{name: good, address: '{status}', token: {text['server']}}}\n"
            f"  - {{name: wrong, address: '{status}', token: {text['wrong']}}}\n"
            f"  - {{name: echo, address: '{echo}', token_file: file}}\n"
            f"  - {{name: leak, address: '{leak}', token: {text['other']}}}\n"
            f"  - {{name: silent, address: '{silent}', token_env: CANARY}}\n"
            f"probe: [{{networks: [127.0.0.0/8], ports: [{port}], token: {text['network']}}}]\n"
            f"api: {{token: {text['api']}}}\n"
        )
        with running(
            "smtpstatus-exporter",
            *("--web.listen-address=127.0.0.1:0", f"--config.file={file}"),
            *(f"--web.config.file={web}", "--log.level=debug"),
            CANARY=text["variable"],
        ) as exporter:
            url = "http://" + exporter.says(r'msg="Listening" address=(\S+)')[1]
            basic = base64.b64encode(b"prom:" + planted["password"]).decode()
            guess = base64.b64encode(b"prom:" + planted["guess"]).decode()
            bearer = f"Bearer {text['api']}"
            for path in (
                *("/metrics", "/sd", "/config", "/", "/docs", "/openapi.json", "/api/v1/targets"),
                *(
                    f"/probe?target={name}&debug=true"
                    for name in ("good", "wrong", "echo", "leak")
                ),
                *(f"/api/v1/targets/{name}" for name in ("good", "wrong", "leak", "silent")),
                f"/probe?target=127.0.0.2:{port}",
                "/probe?target=unknown",
            ):
                outputs[path] = fetched(url + path, Authorization=f"Basic {basic}")
                fetched(url + path, Authorization=f"Basic {guess}")
            for name, token in (("put", bearer), ("refused put", f"Bearer {text['guess']}")):
                outputs[name] = fetched(
                    f"{url}/api/v1/targets/good/transforms",
                    "PUT",
                    b'{"enabled": false}',
                    Authorization=token,
                    Content_Type="application/json",
                )
            bad = file.read_text().replace("token_file: file", f"token_file: {text['other']}")
            file.write_text(bad)
            outputs["reload"] = fetched(f"{url}/-/reload", "POST", b"", Authorization=bearer)
            exporter.says("Configuration reload failed")
            exporter.end()
            outputs["exporter's log"] = exporter.output.encode()
        server.end()
        outputs["server's log"] = server.output.encode()

    assert b"smtpstatus_up" in outputs["/metrics"]
    assert b'"enabled":false' in outputs["put"].replace(b" ", b"")
    assert_hidden(outputs, planted)


@pytest.mark.parametrize(
    "kind",
    # A check of a conforming server needs a minute because of its error rate limit.
    [
        pytest.param("good", marks=[pytest.mark.soak, pytest.mark.long]),
        "wrong",
        "echo",
        "leak",
        "none",
    ],
)
def test_the_command_hides_its_token_for_any_server_behaviour(tmp_path: Path, kind: str) -> None:
    token = canary()
    given = {"SMTPSTATUS_TOKEN": token.decode()}
    outputs: dict[str, bytes] = {}
    junit = tmp_path / "junit.xml"

    def use(where: str) -> None:
        calls = {
            "get": ("get", where),
            "json": ("get", where, "--json"),
            "prometheus": ("get", where, "--format", "prometheus"),
            "watch": ("watch", where, "--count", "2", "--interval", "100ms"),
            "transforms": ("transforms", where, "off"),
            "identify": ("identify", where),
            "check": ("check", where, "--write", "--junit", str(junit)),
            "check in JSON": ("check", where, "--json"),
        }
        for name, arguments in calls.items():
            outputs[name] = typed("smtpstatus", *arguments, "--timeout", "60ms", **given)
        outputs["JUnit"] = junit.read_bytes() if junit.exists() else b""

    if kind in ("good", "wrong"):
        own = token if kind == "good" else canary()
        with running(
            "smtpstatus-server",
            *("--smtp.listen-address=127.0.0.1:0", "--status.listen-address=127.0.0.1:0"),
            f"--maildir={tmp_path}/mail",
            SMTPSTATUS_TOKEN=own.decode(),
        ) as server:
            use(server.says(r"status (127\.0\.0\.1:\d+)")[1])
    else:
        with answering(kind) as where:
            use(where)

    assert outputs["check"]
    assert json.loads(outputs["check in JSON"].splitlines()[0])["target"]
    assert_hidden(outputs, {"token": token})


def test_errors_of_usage_and_configuration_hide_misplaced_tokens(tmp_path: Path) -> None:
    token = canary()
    text = token.decode()
    outputs: dict[str, bytes] = {}
    target = "targets: [{name: a, address: 'h:1', "
    for content in (
        f"{target}token: {text}{text}}}]",
        f"{target}token: {text[:4]}}}]",
        f"{target}token_file: {text}}}]",
        f"{target}token_env: {text}}}]",
        f"{target}token: !{text} x}}]",
        f"{target}token: !{text}!x}}]",
        f"{target}token: *{text}}}]",
        f"{target}token:{text}}}]",
        f"{target}{text}: token}}]",
        f"api: {{token: '{text} '}}",
        f'api: {{token: "{text}\\q"}}',
        f"{text}: 1\n{text}: 2",
    ):
        path = tmp_path / "config.yml"
        path.write_text(content)
        with pytest.raises(ConfigError) as error:
            config.load([path], {})
        outputs[content.replace(text, "TOKEN")] = str(error.value).encode()
    for variable in ("SMTPSTATUS_TOKEN_FILE", "SMTPSTATUS_TOKEN"):
        with pytest.raises(ConfigError) as error:
            config.load([], {"SMTPSTATUS_TARGET": "h:1", variable: text + text})
        outputs[variable] = str(error.value).encode()
    for arguments in ((f"--api-token={text}",), ("--api-token", text), (text,)):
        outputs[f"exporter {len(arguments)}"] = typed("smtpstatus-exporter", *arguments)
    outputs["server"] = typed("smtpstatus-server", "--token", text + text)
    outputs["get"] = typed("smtpstatus", "get", "h:1", "--token", text + text)

    assert all(outputs.values())
    assert_hidden(outputs, {"token": token})
