"""`tls_server_config` of the web configuration: certificates, client certificates, versions and ciphers."""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from smtpstatus.document import Value
from smtpstatus.file import read_text

Resolve = Callable[[str], Path]
"""Resolves a file name in the configuration. Raises `ValueError`."""

_FILES = ("cert_file", "key_file", "client_ca_file")
_INLINE = ("cert", "key", "client_ca")
_KEYS = (
    *_FILES,
    *_INLINE,
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
)
_VERIFY = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "RequireClientCert": ssl.CERT_NONE,
    "RequireAnyClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequestClientCert", "RequireClientCert", "RequireAnyClientCert")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = ("TLS10", "TLS11")
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
"""Go's names of TLS 1.2, which the format uses, to OpenSSL's."""
_TLS13_CIPHERS = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""TLS 1.3 always offers all three, as in Go; they cannot be selected."""
_CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
_MAX_PEM_BYTES = 1 << 20


def set_keys(value: Value, known: tuple[str, ...]) -> Mapping[str, Value]:
    """Keys of a section that are set, as in Go's programs: none in an empty section."""
    if value.is_unset:
        return {}
    return {name: entry for name, entry in value.keys(known).items() if not entry.is_unset}


def files(value: Value, resolve: Resolve) -> tuple[Path, ...]:
    """The files that the section names; a change in one of them requires a new context."""
    keys = set_keys(value, _KEYS)
    return tuple(_path(keys[name], resolve) for name in _FILES if name in keys)


def context(value: Value, resolve: Resolve, warnings: list[str]) -> ssl.SSLContext | None:
    """The context that the section describes, or None if it does not turn TLS on.

    Appends to `warnings` where a setting has less effect than in
    exporter-toolkit. Raises `ConfigError`.
    """
    keys = set_keys(value, _KEYS)
    if not keys.keys() & {*_FILES, *_INLINE, "client_auth_type"}:
        return None
    for name in ("cert", "key"):
        if name not in keys and f"{name}_file" not in keys:
            value.refuse(f"missing key {name} or {name}_file")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["http/1.1"])
    _set_versions(made, keys, warnings)
    _set_ciphers(made, keys)
    _set_curve(made, keys, warnings)
    _load_certificate(made, keys, resolve)
    _set_client_authentication(made, keys, resolve, warnings)
    return made


def _set_versions(made: ssl.SSLContext, keys: Mapping[str, Value], warnings: list[str]) -> None:
    if "min_version" in keys and keys["min_version"].text() in _OLD_VERSIONS:
        warnings.append("min_version: the lowest version is TLS12")
        made.minimum_version = _VERSIONS["TLS12"]
    else:
        made.minimum_version = _version(keys, "min_version", "TLS12")
    made.maximum_version = _version(keys, "max_version", "TLS13")
    if made.minimum_version > made.maximum_version:
        keys["max_version"].refuse("max_version is below min_version")


def _version(keys: Mapping[str, Value], key: str, default: str) -> ssl.TLSVersion:
    text = keys[key].text() if key in keys else default
    if text not in _VERSIONS:
        keys[key].refuse(f"{text!r} is not one of {', '.join(_VERSIONS)}")
    return _VERSIONS[text]


def _set_ciphers(made: ssl.SSLContext, keys: Mapping[str, Value]) -> None:
    suites = keys["cipher_suites"].items() if "cipher_suites" in keys else []
    chosen = []
    for suite in suites:
        name = suite.text()
        if name in _CIPHERS:
            chosen.append(_CIPHERS[name])
        elif name not in _TLS13_CIPHERS:
            suite.refuse(f"unknown cipher; known are {', '.join((*_CIPHERS, *_TLS13_CIPHERS))}")
    if chosen:
        made.set_ciphers(":".join(chosen))
    elif suites:  # only TLS 1.3
        if made.maximum_version < ssl.TLSVersion.TLSv1_3:
            keys["cipher_suites"].refuse("all are of TLS 1.3, which max_version excludes")
        made.minimum_version = ssl.TLSVersion.TLSv1_3
    prefer = keys.get("prefer_server_cipher_suites")
    if prefer is not None and not prefer.boolean():
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _set_curve(made: ssl.SSLContext, keys: Mapping[str, Value], warnings: list[str]) -> None:
    curves = keys["curve_preferences"].items() if "curve_preferences" in keys else []
    for curve in curves:
        if curve.text() not in _CURVES:
            curve.refuse(f"unknown curve; known are {', '.join(_CURVES)}")
    if len(curves) == 1:
        made.set_ecdh_curve(_CURVES[curves[0].text()])
    elif curves:
        warnings.append("curve_preferences: only one can be chosen; OpenSSL's defaults are used")


def _load_certificate(made: ssl.SSLContext, keys: Mapping[str, Value], resolve: Resolve) -> None:
    with ExitStack() as stack:
        certificate = stack.enter_context(_as_file(_pem(keys, "cert", resolve)))
        key = stack.enter_context(_as_file(_pem(keys, "key", resolve)))
        try:
            # A password, even an empty one, keeps OpenSSL from asking for one at the terminal.
            made.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError) as error:
            place = keys.get("cert_file") or keys["cert"]
            names = [_name(keys, name, resolve) for name in ("cert", "key")]
            place.refuse(
                f"{names[0]} and {names[1]} are not a certificate with its key in PEM,"
                f" without a password: {_reason(error)}"
            )


def _pem(keys: Mapping[str, Value], name: str, resolve: Resolve) -> str:
    """The text of NAME_file, or else of NAME."""
    if (value := keys.get(f"{name}_file")) is None:
        return keys[name].text()
    path = _path(value, resolve)
    try:
        return read_text(path, _MAX_PEM_BYTES)
    except ValueError as error:
        value.refuse(f"cannot read {path}: {error}")


def _name(keys: Mapping[str, Value], name: str, resolve: Resolve) -> str:
    value = keys.get(f"{name}_file")
    return name if value is None else str(_path(value, resolve))


def _path(value: Value, resolve: Resolve) -> Path:
    return value.parsed(resolve)


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path of the text, in memory: OpenSSL loads certificates only from files."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _set_client_authentication(
    made: ssl.SSLContext, keys: Mapping[str, Value], resolve: Resolve, warnings: list[str]
) -> None:
    name = keys["client_auth_type"].text() if "client_auth_type" in keys else ""
    if name not in _VERIFY:
        keys["client_auth_type"].refuse(
            f"{name!r} is not one of {', '.join(known for known in _VERIFY if known)}"
        )
    if name in _UNVERIFIED:
        warnings.append(f"client_auth_type: {name} accepts any client; none is authenticated")
        return
    verify = _VERIFY[name]
    authority = keys.get("client_ca_file") or keys.get("client_ca")
    allowed = keys.get("client_allowed_sans")
    if verify is ssl.CERT_NONE:
        for setting in (authority, allowed):
            if setting is not None:
                setting.refuse("requires client_auth_type: RequireAndVerifyClientCert")
        return
    if authority is None:
        made.load_default_certs(ssl.Purpose.CLIENT_AUTH)  # the system's, as in Go
    else:
        try:
            made.load_verify_locations(cadata=_pem(keys, "client_ca", resolve))
        except (ssl.SSLError, ValueError) as error:
            place = _name(keys, "client_ca", resolve)
            authority.refuse(f"{place} has no certificate in PEM: {_reason(error)}")
    made.verify_mode = verify
    if allowed is not None:
        made.sslobject_class = _with_names(
            frozenset(_normal(item.text()) for item in allowed.items())
        )


def _with_names(allowed: frozenset[str]) -> type[ssl.SSLObject]:
    """A connection whose handshake fails unless the client's certificate has one of these names."""

    class WithNames(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if not allowed & _names(self.getpeercert() or {}):
                raise ssl.SSLCertVerificationError("the client certificate has no allowed name")

    return WithNames


def _names(certificate: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(_normal(name) for _, name in certificate.get("subjectAltName", ()))


def _normal(name: str) -> str:
    """IP addresses have several spellings; OpenSSL's differs from people's."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
