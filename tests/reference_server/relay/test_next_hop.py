"""Next-hop URLs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import HostPort
from reference_server.relay.next_hop import NextHop, Protocol

VALID = {
    "smtp://127.0.0.1:10026": NextHop(Protocol.SMTP, HostPort("127.0.0.1", 10026)),
    "SMTP://mail.example:25/": NextHop(Protocol.SMTP, HostPort("mail.example", 25)),
    "lmtp://[::1]:24": NextHop(Protocol.LMTP, HostPort("::1", 24)),
    "lmtp+unix:/run/dovecot/lmtp": NextHop(Protocol.LMTP, Path("/run/dovecot/lmtp")),
    "lmtp+unix:///run/dovecot/lmtp": NextHop(Protocol.LMTP, Path("/run/dovecot/lmtp")),
}
INVALID = (
    "",
    "127.0.0.1:25",
    "smtp:127.0.0.1:25",
    "smtps://mail.example:465",
    "smtp://mail.example",
    "smtp://:25",
    "smtp://mail.example:0",
    "smtp://user@mail.example:25",
    "smtp://mail.example:25/path",
    "lmtp+unix:run/lmtp",
    "lmtp+unix:",
    "lmtp+unix:/run/\nlmtp",
    "http://mail.example:25",
)


@pytest.mark.parametrize(("text", "expected"), VALID.items(), ids=VALID)
def test_a_url_is_parsed(text: str, expected: NextHop) -> None:
    assert NextHop.parse(text) == expected


@pytest.mark.parametrize("expected", VALID.values(), ids=str)
def test_a_next_hop_round_trips(expected: NextHop) -> None:
    assert NextHop.parse(str(expected)) == expected


@pytest.mark.parametrize("text", INVALID)
def test_an_invalid_url_is_rejected_with_the_expected_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid next hop .*: .*expected|address"):
        NextHop.parse(text)


@given(st.text())
def test_arbitrary_text_raises_value_error_or_is_parsed(text: str) -> None:
    try:
        hop = NextHop.parse(text)
    except ValueError:
        return
    assert NextHop.parse(str(hop)) == hop
