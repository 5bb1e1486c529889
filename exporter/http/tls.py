"""`tls_server_config` of the web configuration: certificates, client certificates, versions and ciphers."""

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from smtpstatus.document import Value

_KEYS = (
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
)
_ELSEWHERE = {
    "cert": "write the certificate to a file and name it in cert_file",
    "key": "write the key to a file and name it in key_file",
    "client_ca": "write the certificate to a file and name it in client_ca_file",
    "curve_preferences": "leave it out: the curves are those of OpenSSL",
}
_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{go}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for go, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
"""Go's names, which the format uses, to OpenSSL's; those of TLS 1.3 cannot be chosen, as in Go."""


class LiveContext(ssl.SSLContext):
    """Starts each connection with the context that is current then, so that every setting can change."""

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> Self:
        live = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        live._current = current
        return live

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._current().wrap_bio(*arguments, **options)


def files(value: Value, directory: Path) -> tuple[Path, ...]:
    """The files that the section names; a change in one of them asks for a new context."""
    keys = _keys(value)
    named = (keys[key] for key in ("cert_file", "key_file", "client_ca_file") if key in keys)
    return tuple(directory / name.text() for name in named)


def context(value: Value, directory: Path) -> ssl.SSLContext:
    """The context that the section describes; its paths are relative to `directory`. Raises `ConfigError`."""
    keys = _keys(value)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    _set_versions(made, keys)
    _set_ciphers(made, keys)
    _load_certificate(made, keys, directory)
    _set_client_authentication(made, keys, directory)
    return made


def _keys(value: Value) -> Mapping[str, Value]:
    for name, entry in value.entries().items():
        if name in _ELSEWHERE:
            entry.refuse(f"not supported here: {_ELSEWHERE[name]}")
    return value.keys(_KEYS, ("cert_file", "key_file"))


def _set_versions(made: ssl.SSLContext, keys: Mapping[str, Value]) -> None:
    made.minimum_version = _version(keys, "min_version", "TLS12")
    made.maximum_version = _version(keys, "max_version", "TLS13")
    if made.minimum_version > made.maximum_version:
        keys["max_version"].refuse("max_version is below min_version")


def _version(keys: Mapping[str, Value], key: str, default: str) -> ssl.TLSVersion:
    text = keys[key].text() if key in keys else default
    if text not in _VERSIONS:
        keys[key].refuse(f"{text!r} is not one of {', '.join(_VERSIONS)}; older ones are broken")
    return _VERSIONS[text]


def _set_ciphers(made: ssl.SSLContext, keys: Mapping[str, Value]) -> None:
    if "cipher_suites" in keys:
        wanted = keys["cipher_suites"].items()
        for suite in wanted:
            if suite.text() not in _CIPHERS:
                suite.refuse(f"unknown cipher; known are {', '.join(_CIPHERS)}")
        if wanted:
            made.set_ciphers(":".join(_CIPHERS[suite.text()] for suite in wanted))
    prefer = keys.get("prefer_server_cipher_suites")
    if prefer is not None and not prefer.boolean():
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _load_certificate(made: ssl.SSLContext, keys: Mapping[str, Value], directory: Path) -> None:
    certificate = _readable(keys["cert_file"], directory)
    key = _readable(keys["key_file"], directory)
    try:
        # A password, though empty, keeps OpenSSL from asking for one at the terminal.
        made.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        keys["cert_file"].refuse(
            f"{certificate} and {key} are no certificate with its key in PEM,"
            f" without a password: {_reason(error)}"
        )


def _set_client_authentication(
    made: ssl.SSLContext, keys: Mapping[str, Value], directory: Path
) -> None:
    name = keys["client_auth_type"].text() if "client_auth_type" in keys else "NoClientCert"
    if name in _UNVERIFIED:
        keys["client_auth_type"].refuse(
            f"{name} lets any certificate in and so proves nothing: use RequireAndVerifyClientCert"
        )
    if name not in _AUTH:
        keys["client_auth_type"].refuse(f"{name!r} is not one of {', '.join(_AUTH)}")
    verify = _AUTH[name]
    authority, allowed = keys.get("client_ca_file"), keys.get("client_allowed_sans")
    if authority is not None and verify is ssl.CERT_NONE:
        authority.refuse("it has no effect without client_auth_type: RequireAndVerifyClientCert")
    if allowed is not None and verify is not ssl.CERT_REQUIRED:
        allowed.refuse("it has no effect without client_auth_type: RequireAndVerifyClientCert")
    if verify is ssl.CERT_NONE:
        return
    if authority is None:
        keys["client_auth_type"].refuse("client_ca_file is missing: it says whom to believe")
    _load_authority(made, authority, directory)
    made.verify_mode = verify
    if allowed is not None:
        made.sslobject_class = _selective(
            frozenset(_normal(item.text()) for item in allowed.items())
        )


def _load_authority(made: ssl.SSLContext, authority: Value, directory: Path) -> None:
    path = _readable(authority, directory)
    try:
        made.load_verify_locations(path)
    except (ssl.SSLError, ValueError) as error:
        authority.refuse(f"{path} holds no certificate in PEM: {_reason(error)}")


def _selective(allowed: frozenset[str]) -> type[ssl.SSLObject]:
    """A connection that ends at the handshake unless the client's certificate has one of these names."""

    class Selective(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if not allowed & _names(self.getpeercert() or {}):
                raise ssl.SSLCertVerificationError("the client certificate has no allowed name")

    return Selective


def _names(certificate: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(_normal(name) for _, name in certificate.get("subjectAltName", ()))


def _normal(name: str) -> str:
    """IP addresses have several spellings; OpenSSL's differs from people's."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _readable(value: Value, directory: Path) -> Path:
    path = directory / value.text()
    try:
        path.open("rb").close()
    except (OSError, ValueError) as error:
        value.refuse(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
    return path


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
