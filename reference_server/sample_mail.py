"""Realistic sample messages: mostly small, some with attachments, some invalid recipients, some aborted. No I/O."""

import base64
import math
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum
from random import Random


class ClientBehaviour(Enum):
    """How the client of a message behaves."""

    CONFORMING = "conforming"
    DISCONNECTING = "disconnecting"
    """Closes its connection in the middle of the message."""
    MALFORMED = "malformed"
    """Sends commands that are not SMTP, and disconnects."""


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """A message for DATA with CRLF line ends; dots are not stuffed yet."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes
    behaviour: ClientBehaviour = ClientBehaviour.CONFORMING


_PEOPLE = (
    "ada",
    "alan",
    "barbara",
    "claude",
    "dennis",
    "edsger",
    "grace",
    "ken",
    "margaret",
    "tim",
)
_WORDS = (
    *("the", "report", "for", "Monday", "is", "nearly", "done", "and", "wants", "another", "look"),
    *("before", "lunch", "because", "last", "week's", "numbers", "arrived", "late", "again"),
    *("thanks", "see", "you", "at", "station", "grüße", "aus", "Köln", "mañana", "otro", "día"),
)
_DAY_S = 240
"""The period of the daily wave, short enough to be seen in a demonstration."""


def pace(rate: float, elapsed: float, random: Random) -> float:
    """Returns the seconds until the next message: random arrivals with bursts, `rate` per second on average."""
    wave = 1 + 0.8 * math.sin(2 * math.pi * elapsed / _DAY_S)  # begins at the average
    burst = 6 if random.random() < 0.2 else 0.85  # a fifth of the messages follow closely
    return random.expovariate(rate * wave * burst)


def generate(
    random: Random, domain: str, number: int, now: float, size: int | None = None
) -> SampleMessage:
    """Generates a message; `size` is that of its body in octets, or None for a realistic one."""
    sender = f"{random.choice(_PEOPLE)}@elsewhere.example"
    recipients = [f"{name}@{domain}" for name in random.sample(_PEOPLE, _number_of(random))]
    if random.random() < 0.05:
        recipients.append("nobody@not-here.example")
    behaviour = random.choices(list(ClientBehaviour), (95, 3, 2))[0]
    attached = size is None and random.random() < 0.06
    length = size if size is not None else min(round(random.lognormvariate(7.6, 1.1)), 64_000)
    text = _text(random, length)
    headers = [
        f"From: <{sender}>",
        f"To: {', '.join(f'<{recipient}>' for recipient in recipients)}",
        f"Subject: {' '.join(random.sample(_ASCII_WORDS, 3))}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{number}.{random.getrandbits(64):x}@elsewhere.example>",
        "MIME-Version: 1.0",
    ]
    if attached:
        text = _with_attachment(headers, text, random)
    else:
        headers += ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
    octets = "\r\n".join((*headers, "", text)).encode()
    return SampleMessage(sender, tuple(recipients), octets, behaviour)


_ASCII_WORDS = tuple(word for word in _WORDS if word.isascii())


def _number_of(random: Random) -> int:
    return random.choices((1, 2, 5), (85, 12, 3))[0]


def _text(random: Random, length: int) -> str:
    lines = []
    while length > 0:
        line = " ".join(random.choices(_WORDS, k=10))
        if random.random() < 0.02:
            line = f".{line}"
        lines.append(line.encode()[: max(0, length - 2)].decode(errors="ignore"))
        length -= len(lines[-1].encode()) + 2
    return "\r\n".join((*lines, ""))


def _with_attachment(headers: list[str], text: str, random: Random) -> str:
    headers.append('Content-Type: multipart/mixed; boundary="=-=-="')
    octets = random.randbytes(min(round(random.lognormvariate(11, 0.9)), 2_000_000))
    return "\r\n".join(
        (
            "--=-=-=",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
            "",
            text,
            "--=-=-=",
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: base64",
            "",
            base64.encodebytes(octets).decode().replace("\n", "\r\n") + "--=-=-=--",
            "",
        )
    )
