"""What the exporter is told: targets, networks that may be probed, the API; by YAML files or by the environment."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from exporter.configuration.secret import Secret, file_path
from protocol.address import HostPort
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import TokenError
from protocol.token import Token
from smtpstatus import dialects, document
from smtpstatus.document import ConfigError, Value

Network = IPv4Network | IPv6Network

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_TAKEN_LABELS = ("target", "reason")
_TOKEN_KEYS = ("token", "token_file", "token_env")


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
    """ProbePolicy whose addresses may be probed, and the token that goes there and nowhere else."""

    networks: tuple[Network, ...]
    secret: Secret
    dialect: Dialect = V0


@dataclass(frozen=True, slots=True)
class Api:
    """Who may write: the holder of the secret; without one, nobody. Foreign web pages may ask from `cors_origins`."""

    secret: Secret | None = None
    cors_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """`timeout` is in seconds, at most, per reading; `attempts` counts the first datagram too."""

    timeout: float = 2.0
    attempts: int = 3
    targets: tuple[Target, ...] = ()
    probe: tuple[ProbeNetwork, ...] = ()
    api: Api = field(default_factory=Api)

    @property
    def secrets(self) -> list[Secret]:
        """Every secret once: targets that share a file share its secret."""
        found = [target.secret for target in self.targets] + [rule.secret for rule in self.probe]
        if self.api.secret:
            found.append(self.api.secret)
        return list(dict.fromkeys(found))


def load(paths: Sequence[Path], environ: Mapping[str, str]) -> Config:
    """Read files, and directories of *.yml and *.yaml files, as one configuration; without any, the environment.

    Raises `ConfigError`.
    """
    if not paths:
        return _from_environment(environ)
    if "SMTPSTATUS_TARGET" in environ:
        raise ConfigError(
            "SMTPSTATUS_TARGET is set, and a configuration file is given too: unset one of them"
        )
    reader = _Reader(environ)
    roots = [root for path in _files(paths) if (root := document.read(path))]
    return reader.config(roots)


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix in (".yml", ".yaml"))
            if not inside:
                raise ConfigError(f"{path}: the directory holds no *.yml or *.yaml file")
            found += inside
        else:
            found.append(path)
    return found


def _from_environment(environ: Mapping[str, str]) -> Config:
    name = environ.get("SMTPSTATUS_TARGET", "")
    if not name:
        raise ConfigError(
            "nothing to watch: give --config.file, or SMTPSTATUS_TARGET=host:port with"
            " SMTPSTATUS_TOKEN or SMTPSTATUS_TOKEN_FILE"
        )
    try:
        address = _address(name, V0)
    except ValueError as error:
        raise ConfigError(f"SMTPSTATUS_TARGET: {error}") from None
    secret = _environment_secret("SMTPSTATUS_TOKEN", environ)
    if secret is None:
        raise ConfigError(
            "SMTPSTATUS_TARGET is set, but neither SMTPSTATUS_TOKEN nor SMTPSTATUS_TOKEN_FILE is"
        )
    try:
        token(secret, V0)
    except TokenError as error:
        raise ConfigError(f"{secret.origin}: {error}") from None
    api = Api(_environment_secret("SMTPSTATUS_API_TOKEN", environ))
    return Config(targets=(Target(name, address, secret),), api=api)


def _environment_secret(name: str, environ: Mapping[str, str]) -> Secret | None:
    text, path = environ.get(name), environ.get(f"{name}_FILE")
    if text and path:
        raise ConfigError(f"{name} and {name}_FILE are both set: unset one of them")
    if path:
        return Secret.read(Path(path))
    return Secret.given(text, name) if text else None


def token(secret: Secret, dialect: Dialect) -> Token:
    """The token that a secret's present text is in a dialect. Raises `TokenError`."""
    return Token.parse(secret.text, dialect.token_length)


def _address(text: str, dialect: Dialect) -> HostPort:
    """Raises `ValueError`."""
    address = HostPort.parse(text, dialect.default_port)
    if not address.host or not address.port:
        raise ValueError(f"{text!r} is no target: it takes a host, and a port from 1 to 65535")
    return address


class _Reader:
    """One pass over the files: what was seen so far, so that nothing is defined twice."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
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
                    value.refuse(f"{first.place} says it too: keep one of them")
        for value in several["dialects"]:
            self._read_dialects(value)
        defaults = Config()
        return Config(
            timeout=single["timeout"].seconds(0.001, 600)
            if "timeout" in single
            else defaults.timeout,
            attempts=(
                single["attempts"].integer(1, 20) if "attempts" in single else defaults.attempts
            ),
            targets=self._targets(
                [item for value in several["targets"] for item in value.items()]
            ),
            probe=tuple(self._rule(item) for value in several["probe"] for item in value.items()),
            api=self._api(single["api"]) if "api" in single else Api(),
        )

    def _read_dialects(self, value: Value) -> None:
        for name, table in value.entries().items():
            if name in self._dialects:
                table.refuse(f"there is a dialect {name} already: give this one another name")
            self._dialects[name] = dialects.dialect(name, table)

    def _targets(self, items: Sequence[Value]) -> tuple[Target, ...]:
        found: dict[str, Target] = {}
        places: dict[str, str] = {}
        for item in items:
            keys = item.keys(
                ("name", "address", *_TOKEN_KEYS, "dialect", "labels"), ("name", "address")
            )
            name = keys["name"].parsed(_name)
            if name in found:
                keys["name"].refuse(f"{places[name]} has a target {name} too: rename one of them")
            dialect = self._dialect(keys)
            secret = self._token(item, keys, dialect)
            address = keys["address"].parsed(partial(_address, dialect=dialect))
            labels = _labels(keys["labels"]) if "labels" in keys else {}
            found[name] = Target(name, address, secret, dialect, labels)
            places[name] = keys["name"].place
        return tuple(found.values())

    def _rule(self, item: Value) -> ProbeNetwork:
        keys = item.keys(("networks", *_TOKEN_KEYS, "dialect"), ("networks",))
        networks = tuple(entry.parsed(_network) for entry in keys["networks"].items())
        if not networks:
            keys["networks"].refuse("name at least one network, as 10.0.0.0/8")
        dialect = self._dialect(keys)
        return ProbeNetwork(networks, self._token(item, keys, dialect), dialect)

    def _api(self, value: Value) -> Api:
        keys = value.keys((*_TOKEN_KEYS, "cors_origins"))
        origins = keys["cors_origins"].items() if "cors_origins" in keys else []
        secret = self._secret(value, keys) if keys.keys() & set(_TOKEN_KEYS) else None
        return Api(secret, tuple(origin.parsed(_origin) for origin in origins))

    def _dialect(self, keys: Mapping[str, Value]) -> Dialect:
        if "dialect" not in keys:
            return V0
        name = keys["dialect"].text()
        if name not in self._dialects:
            keys["dialect"].refuse(
                f"no dialect is called {name}; there are {', '.join(self._dialects)}"
            )
        return self._dialects[name]

    def _token(self, item: Value, keys: Mapping[str, Value], dialect: Dialect) -> Secret:
        secret = self._secret(item, keys)
        try:
            token(secret, dialect)
        except TokenError as error:
            given = next(keys[key] for key in _TOKEN_KEYS if key in keys)
            given.refuse(f"{secret.origin}: {error}" if secret.origin else str(error))
        return secret

    def _secret(self, item: Value, keys: Mapping[str, Value]) -> Secret:
        given = [keys[key] for key in _TOKEN_KEYS if key in keys]
        if len(given) != 1:
            item.refuse("give one of token, token_file and token_env")
        value = given[0]
        if "token" in keys:
            return Secret(value.parsed(_not_empty), "")
        if "token_env" in keys:
            name = value.text()
            if not (text := self._environ.get(name)):
                value.refuse(f"the environment variable {name} is not set")
            try:
                return Secret.given(text, f"the environment variable {name}")
            except ConfigError as error:
                value.refuse(str(error))
        directory = Path(value.file).parent
        path = value.parsed(lambda text: file_path(text, directory, self._environ))
        if path not in self._files:
            try:
                self._files[path] = Secret.read(path)
            except ConfigError as error:
                value.refuse(str(error))
        return self._files[path]


def _name(text: str) -> str:
    if not text.isprintable() or not text.strip() or "/" in text or len(text) > 200:
        raise ValueError("a name is 1 to 200 printable characters without a slash")
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("the token is empty")
    return text


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}: write a network as 10.0.0.0/8 or fd00::/8") from None


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s*]+", text):
        raise ValueError(f"{text!r} is no origin: write it as http://grafana.example:3000")
    return text


def _labels(value: Value) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for name, entry in value.entries().items():
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            entry.refuse("a label's name has letters, digits and _, and does not begin with __")
        if name in _TAKEN_LABELS:
            entry.refuse(f"the label {name} is the exporter's own: choose another name")
        labels[name] = entry.text()
    return labels
