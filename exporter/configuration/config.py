"""The exporter's configuration: targets, probe networks and the API, from YAML files or the environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from exporter.configuration import fields
from exporter.configuration.fields import Network
from exporter.configuration.secret import Secret, file_path
from protocol.address import HostPort
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import TokenError
from protocol.token import Token
from smtpstatus import dialects, document
from smtpstatus.document import Value, optional
from smtpstatus.errors import ConfigError
from smtpstatus.secret import unexpanded

_TOKEN_KEYS = ("token", "token_file", "token_env")
_TARGET_KEYS = ("name", "address", *_TOKEN_KEYS, "dialect", "labels")
_UNREAD = Secret("", "")
"""Placeholder for a secret that is not read."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server with a name, its own token and labels."""

    name: str
    address: HostPort
    secret: Secret
    dialect: Dialect = V0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbeNetwork:
    """Addresses and ports that may be probed, and the token that is sent there and nowhere else.

    Without `ports`, only the dialect's own port may be probed.
    """

    networks: tuple[Network, ...]
    secret: Secret
    dialect: Dialect = V0
    ports: tuple[range, ...] = ()

    def allows(self, host: str, port: int) -> bool:
        """Whether the numeric address `host` with `port` may be probed."""
        address = ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return self.allows_port(port) and any(
            (mapped or address) in network for network in self.networks
        )

    def allows_port(self, port: int) -> bool:
        if self.ports:
            return any(port in allowed for allowed in self.ports)
        return port == self.dialect.default_port


@dataclass(frozen=True, slots=True)
class Api:
    """Access to the API: the holder of `secret` may write, and with None no client.

    Web pages from `cors_origins` may call it.
    """

    secret: Secret | None = None
    cors_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """`timeout` is in seconds, at most, per reading; `attempts` counts the first datagram too."""

    timeout: float = 2.0
    attempts: int = 3
    targets: tuple[Target, ...] = ()
    probe: tuple[ProbeNetwork, ...] = ()
    dialects: tuple[Dialect, ...] = ()
    """Those that the configuration itself describes."""
    api: Api = field(default_factory=Api)


def load(
    paths: Sequence[Path], environ: Mapping[str, str], *, read_secrets: bool = True
) -> Config:
    """Loads files, and directories of *.yml and *.yaml files, as one configuration; without any, the environment.

    Without `read_secrets`, no token file or variable is read, and the result can only be counted.
    Raises `ConfigError`.
    """
    if not paths:
        return _from_environment(environ, read_secrets)
    if environ.get("SMTPSTATUS_TARGET"):
        raise ConfigError("both SMTPSTATUS_TARGET and --config.file are set: unset one of them")
    reader = _Reader(environ, read_secrets)
    roots = [root for path in document.files(paths) if (root := document.read(path))]
    return reader.config(roots)


def _from_environment(environ: Mapping[str, str], read_secrets: bool) -> Config:
    name = environ.get("SMTPSTATUS_TARGET", "")
    if not name:
        raise ConfigError(
            "no targets configured: pass --config.file, or set SMTPSTATUS_TARGET=host:port and"
            " SMTPSTATUS_TOKEN or SMTPSTATUS_TOKEN_FILE"
        )
    known = environ.get("SMTPSTATUS_DIALECT") or V0.name
    if known not in DIALECTS:
        raise ConfigError(f"SMTPSTATUS_DIALECT: unknown dialect: known are {', '.join(DIALECTS)}")
    dialect = DIALECTS[known]
    try:
        address = fields.address(name, dialect)
    except ValueError as error:
        raise ConfigError(f"SMTPSTATUS_TARGET: {error}") from None
    if not read_secrets:
        return Config(targets=(Target(name, address, _UNREAD, dialect),))
    secret = _environment_secret("SMTPSTATUS_TOKEN", environ)
    if secret is None:
        raise ConfigError(
            "no token for SMTPSTATUS_TARGET: set SMTPSTATUS_TOKEN or SMTPSTATUS_TOKEN_FILE"
        )
    try:
        token(secret, dialect)
    except TokenError as error:
        raise ConfigError(f"{secret.origin}: {error}") from None
    api = Api(_environment_secret("SMTPSTATUS_API_TOKEN", environ))
    return Config(targets=(Target(name, address, secret, dialect),), api=api)


def _environment_secret(name: str, environ: Mapping[str, str]) -> Secret | None:
    text, path = environ.get(name), environ.get(f"{name}_FILE")
    if text and path:
        raise ConfigError(f"{name} and {name}_FILE are both set: unset one of them")
    try:
        if path:
            return Secret.read(Path(path))
        return Secret.given(text, name) if text else None
    except ValueError as error:
        place = f"{name}_FILE: cannot read the token" if path else name
        raise ConfigError(f"{place}: {error}") from None


def token(secret: Secret, dialect: Dialect) -> Token:
    """Returns the token of a secret's current text in a dialect. Raises `TokenError`."""
    return Token.parse(secret.text, dialect.token_length)


class _Reader:
    """State of one pass over the files: names and keys seen so far, to reject duplicates."""

    def __init__(self, environ: Mapping[str, str], read_secrets: bool) -> None:
        self._environ = environ
        self._read_secrets = read_secrets
        self._files: dict[Path, Secret] = {}
        self._dialects = dict(DIALECTS)

    def config(self, roots: Sequence[Value]) -> Config:
        known = ("timeout", "attempts", "targets", "probe", "api", "dialects")
        single: dict[str, Value] = {}
        several: dict[str, list[Value]] = {"targets": [], "probe": [], "dialects": []}
        for root in roots:
            for key, value in root.keys(known).items():
                if key in several:
                    several[key].append(value)
                elif (first := single.setdefault(key, value)) is not value:
                    value.refuse(f"also set at {first.place}: keep one of them")
        for value in several["dialects"]:
            self._read_dialects(value)
        defaults = Config()
        return Config(
            timeout=optional(
                single, "timeout", lambda value: value.seconds(0.001, 600), defaults.timeout
            ),
            attempts=optional(
                single, "attempts", lambda value: value.integer(1, 20), defaults.attempts
            ),
            targets=self._targets(
                [item for value in several["targets"] for item in value.items()]
            ),
            probe=tuple(
                self._probe_network(item) for value in several["probe"] for item in value.items()
            ),
            api=optional(single, "api", self._api, Api()),
            dialects=tuple(d for name, d in self._dialects.items() if name not in DIALECTS),
        )

    def _read_dialects(self, value: Value) -> None:
        for name, table in value.entries().items():
            if name in self._dialects:
                table.refuse(f"duplicate dialect {name}: choose another name")
            self._dialects[name] = dialects.dialect(name, table)

    def _targets(self, items: Sequence[Value]) -> tuple[Target, ...]:
        found: dict[str, Target] = {}
        places: dict[str, str] = {}
        for item in items:
            keys = item.keys(_TARGET_KEYS, ("name", "address"))
            name = keys["name"].parsed(fields.name)
            if name in found:
                keys["name"].refuse(
                    f"duplicate target {name}, also at {places[name]}: rename one of them"
                )
            dialect = self._dialect(keys)
            secret = self._token(item, keys, dialect)
            address = keys["address"].parsed(partial(fields.address, dialect=dialect))
            labels = optional(keys, "labels", fields.labels, {})
            found[name] = Target(name, address, secret, dialect, labels)
            places[name] = keys["name"].place
        return tuple(found.values())

    def _probe_network(self, item: Value) -> ProbeNetwork:
        keys = item.keys(("networks", "ports", *_TOKEN_KEYS, "dialect"), ("networks",))
        networks = tuple(entry.parsed(fields.network) for entry in keys["networks"].items())
        if not networks:
            keys["networks"].refuse("expected at least one network, such as 10.0.0.0/8")
        dialect = self._dialect(keys)
        ports = optional(keys, "ports", fields.ports, ())
        return ProbeNetwork(networks, self._token(item, keys, dialect), dialect, ports)

    def _api(self, value: Value) -> Api:
        keys = value.keys((*_TOKEN_KEYS, "cors_origins"))
        origins = keys["cors_origins"].items() if "cors_origins" in keys else []
        secret = self._secret(value, keys) if keys.keys() & set(_TOKEN_KEYS) else None
        return Api(secret, tuple(origin.parsed(fields.origin) for origin in origins))

    def _dialect(self, keys: Mapping[str, Value]) -> Dialect:
        if "dialect" not in keys:
            return V0
        name = keys["dialect"].text()
        if name not in self._dialects:
            keys["dialect"].refuse(f"unknown dialect: known are {', '.join(self._dialects)}")
        return self._dialects[name]

    def _token(self, item: Value, keys: Mapping[str, Value], dialect: Dialect) -> Secret:
        secret = self._secret(item, keys)
        if secret is _UNREAD:
            return secret
        try:
            token(secret, dialect)
        except TokenError as error:
            next(keys[key] for key in _TOKEN_KEYS if key in keys).refuse(str(error))
        return secret

    def _secret(self, item: Value, keys: Mapping[str, Value]) -> Secret:
        """Returns the secret of one of three keys. No error repeats a value: it may be a misplaced token."""
        given = [key for key in _TOKEN_KEYS if key in keys]
        if len(given) != 1:
            item.refuse("expected exactly one of token, token_file and token_env")
        value = keys[given[0]]
        if given[0] != "token" and not self._read_secrets:
            value.text()
            return _UNREAD
        if given[0] == "token":
            return _inline(value)
        return self._variable(value) if given[0] == "token_env" else self._file(value)

    def _variable(self, value: Value) -> Secret:
        name = value.text()
        if not (text := self._environ.get(name)):
            value.refuse("this environment variable is not set: write the name of one that is")
        try:
            return Secret.given(text, f"the environment variable {name}")
        except ValueError as error:
            value.refuse(f"the environment variable's value cannot be used: {error}")

    def _file(self, value: Value) -> Secret:
        directory = Path(value.file).parent
        path = value.parsed(lambda text: file_path(text, directory, self._environ))
        if path not in self._files:
            try:
                self._files[path] = Secret.read(path)
            except ValueError as error:
                value.refuse(f"cannot read the token from this file: {error}")
        return self._files[path]


def _inline(value: Value) -> Secret:
    text = value.text()
    if name := unexpanded(text):
        value.refuse(f"variables are not expanded here: write token_env: {name}")
    return value.parsed(Secret.given)
