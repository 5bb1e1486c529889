"""Set-ups of docs/filter.md, with real mail servers and the documented configuration."""

import imaplib
import os
import pwd
import re
import shlex
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_server.config import parse
from tests.support import mta
from tests.support.filter import ROOT, Filter, documented, documented_filter, send
from tests.support.processes import eventually, free_port

LETTER = "Subject: through\n\n.dot\nGrüße\n"
BODY = "\n\n.dot\nGrüße\n".encode()
FOOTER = b"-- \nThis mail went through smtpstatus.\n"

EXIM_STORES = """\
store:
  driver = accept
  local_parts = ann : bob : eve
  transport = store
"""
EXIM_TRANSPORT = """\
store:
  driver = appendfile
  directory = {home}/mail/$local_part_data
  maildir_format
  user = Debian-exim
begin retry
* * F,1h,1s
begin acl
recipients:
  accept domains = example.org
"""
OPENSMTPD_STORES = """\
table users {{ "@" = "nobody" }}
action "store" maildir "{home}/mail/%{{rcpt.user:raw}}" virtual <users>
"""
DOVECOT = """\
protocols = {protocols}
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
auth_username_format = %n
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = passwd-file
  args = {home}/users
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
}}
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with mta.directory() as path:
        yield path


def check_switch(server: Filter, port: int, receiver: mta.Mta) -> None:
    """Messages to two recipients are transformed while the switch is on, and untouched while it is off."""
    send(port, LETTER, "bob@example.org", "eve@example.org")
    for user in ("bob", "eve"):
        [mail] = receiver.wait_for_mail(user)
        assert mail.endswith(BODY + FOOTER), mail
    server.switch("off")
    send(port, LETTER, "bob@example.org")
    mails = receiver.wait_for_mail("bob", 2)
    assert sorted(mail.endswith(BODY) for mail in mails) == [False, True], mails
    counters = server.counters()
    assert counters["connections_total"] >= 1
    assert counters["transferred_bytes_total"] > 2 * len(LETTER)
    assert counters["transforms_enabled"] is False


def test_postfix_content_filter_transforms_and_forwards_the_client(home: Path) -> None:
    lmtp, again = free_port(), free_port()
    with (
        documented_filter(
            "postfix-content-filter",
            {"10025": lmtp, "10026": again},
            "--transform",
            "sh -c 'echo X-Client: $CLIENT_ADDRESS $CLIENT_HELO; cat'",
        ) as server,
        mta.postfix(
            home / "postfix",
            documented("postfix-content-filter main.cf", {"10025": lmtp}),
            documented("postfix-content-filter master.cf", {"10026": again}),
        ) as postfix,
    ):
        check_switch(server, postfix.port, postfix)

        server.switch("on")
        send(postfix.port, LETTER, "ann@example.org", source="127.0.0.2")
        [mail] = postfix.wait_for_mail("ann")
        assert mail.count(b"Return-Path:") == 1
        assert b"X-Client: 127.0.0.2 " in mail
        log = postfix.log.read_text()
        queued = re.search(r"postfix/smtpd\S+ (\w+): client=\S+\[127\.0\.0\.2\]", log)
        assert queued
        reinjected = rf"postfix/reinject/smtpd\S+ (\w+): .*orig_queue_id={queued[1]}, "
        again_as = re.search(reinjected + r"orig_client=\S+\[127\.0\.0\.2\]", log)
        assert again_as
        server.process.says(rf"original_client=127\.0\.0\.2 .*queued as {again_as[1]}")


def test_postfix_before_the_queue_rejects_to_the_client(home: Path) -> None:
    smtp, again = free_port(), free_port()
    with (
        documented_filter("postfix-before-queue", {"10025": smtp, "10026": again}) as server,
        mta.postfix(
            home / "postfix",
            documented("postfix-before-queue main.cf", {"10025": smtp}),
            documented("postfix-before-queue master.cf", {"10026": again}),
        ) as postfix,
    ):
        check_switch(server, postfix.port, postfix)
        with smtplib.SMTP("127.0.0.1", postfix.port) as client:
            refused = client.sendmail(
                "a@example.org", ["bob@example.org", "unknown@example.org"], LETTER.encode()
            )
        assert refused["unknown@example.org"][0] == 550
        assert len(postfix.wait_for_mail("bob", 3)) == 3
        assert "proxy-accept" in postfix.log.read_text()


def exim_configuration(name: str, own: Path, replacements: dict[str, str | int]) -> str:
    """A documented configuration with its prerequisites: mail storage and users."""
    main, rest = documented(f"{name} exim.conf", replacements).split("begin routers")
    routers, transports = rest.split("begin transports")
    return (
        f"local_interfaces = 127.0.0.1\nacl_smtp_rcpt = recipients\n{main}"
        f"begin routers\n{routers}{EXIM_STORES}"
        f"begin transports\n{transports}{EXIM_TRANSPORT.format(home=own)}"
    )


def test_the_service_drop_in_has_consistent_flags(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secretpa")
    text = documented(
        "systemd filter.conf", {"${CREDENTIALS_DIRECTORY}/token": tmp_path / "token"}
    )
    _, command = text.replace("\\\n", " ").split("ExecStart=/opt/smtpstatus/bin/")
    name, *flags = shlex.split(command)

    config = parse(flags, {"PATH": os.environ["PATH"]})

    assert name == "smtpstatus-server"
    assert str(config.route.lmtp) == "unix:/run/smtpstatus/lmtp"
    assert (ROOT / "deploy/systemd/smtpstatus-server.service").exists()


def test_exim_filter_transforms(home: Path) -> None:
    port, lmtp, again = free_port(), free_port(), free_port()
    configuration = exim_configuration(
        "exim-filter", home / "exim", {"25": port, "10025": lmtp, "10026": again}
    )
    with (
        documented_filter("exim-filter", {"10025": lmtp, "10026": again}) as server,
        mta.exim(home / "exim", configuration, port) as exim,
    ):
        check_switch(server, port, exim)


def test_exim_reaches_the_filter_by_a_unix_socket(home: Path) -> None:
    port, again, path = free_port(), free_port(), home / "lmtp"
    socket = {"/run/smtpstatus/lmtp": str(path)}
    configuration = exim_configuration(
        "exim-socket", home / "exim", {"25": port, "10026": again, **socket}
    )
    with (
        documented_filter("exim-socket", {"10026": again, **socket}) as server,
        mta.exim(home / "exim", configuration, port) as exim,
    ):
        check_switch(server, port, exim)
        server.process.says(r'msg="Message accepted" .*client=unix ')


def test_opensmtpd_filter_transforms(home: Path) -> None:
    port, lmtp, again = free_port(), free_port(), free_port()
    own = home / "opensmtpd"
    configuration = OPENSMTPD_STORES.format(home=own) + documented(
        "opensmtpd-filter smtpd.conf", {"25": port, "10025": lmtp, "10026": again}
    )
    with (
        documented_filter("opensmtpd-filter", {"10025": lmtp, "10026": again}) as server,
        mta.opensmtpd(own, configuration, port) as opensmtpd,
    ):
        check_switch(server, port, opensmtpd)


def dovecot_configuration(home: Path, mail: Path, protocols: str, imap: int) -> str:
    """Configuration of a Dovecot in addition to the documented lines; bob and eve exist."""
    unprivileged = pwd.getpwnam("nobody")
    home.mkdir()
    users = (
        f"{user}::{unprivileged.pw_uid}:{unprivileged.pw_gid}::{mail}/{user}"
        for user in ("bob", "eve")
    )
    (home / "users").write_text("\n".join(users) + "\n")
    return DOVECOT.format(home=home, protocols=protocols, imap=imap)


def test_postfix_delivers_through_the_filter_to_dovecot_and_gets_its_replies(home: Path) -> None:
    lmtp, own = free_port(), home / "dovecot"
    mail = own / "mail"
    configuration = dovecot_configuration(own, mail, "lmtp", 0)
    with (
        mta.dovecot(own, f"mail_location = maildir:{mail}/%n\n{configuration}") as process,
        documented_filter(
            "postfix-dovecot", {"10025": lmtp, "/run/dovecot/lmtp": str(own / "lmtp")}
        ) as server,
        mta.postfix(
            home / "postfix", documented("postfix-dovecot main.cf", {"10025": lmtp})
        ) as postfix,
    ):
        mail.mkdir()
        mail.chmod(0o777)
        eventually(lambda: (own / "lmtp").exists() or process.ended)
        stored = mta.Mta(own, 0, process, postfix.log)

        check_switch(server, postfix.port, stored)
        send(postfix.port, LETTER, "bob@example.org", "ann@example.org")
        stored.wait_for_mail("bob", 3)
        statuses = r"to=<(ann|bob)@example.org>.*status=(.*)"
        found = eventually(
            lambda: (
                lines if len(lines := re.findall(statuses, postfix.log.read_text())) == 4 else None
            )
        )
        outcomes = dict(found)
        assert outcomes["bob"].startswith("sent (250 2.0.0 <bob@example.org> ")
        assert "said: 550 5.1.1 <ann@example.org> User doesn't exist" in outcomes["ann"]


def test_postfix_delivers_locally_and_dovecot_serves_the_maildirs(home: Path) -> None:
    lmtp, imap = free_port(), free_port()
    mail = home / "vhosts"
    with (
        documented_filter(
            "local-delivery",
            {"10025": lmtp, "/var/mail/vhosts": str(mail)},
            "--smtp.listen-address=127.0.0.1:0",
        ) as server,
        mta.postfix(
            home / "postfix",
            documented("local-delivery main.cf", {"10025": lmtp})
            + "virtual_mailbox_maps = static:shared\n",
        ) as postfix,
        mta.dovecot(
            home / "dovecot",
            documented("local-delivery dovecot.conf", {"/var/mail/vhosts": str(mail)})
            + dovecot_configuration(home / "dovecot", mail, "imap", imap),
        ) as process,
    ):
        send(postfix.port, LETTER, "bob@example.org", "unknown@example.org")
        eventually(lambda: list(mail.glob("bob/new/*")) and list(mail.glob("postmaster/new/*")))
        assert server.counters()["connections_total"] >= 1

        for path in (
            mail,
            *mail.rglob("*"),
        ):  # the server runs as root here, whose files Dovecot rejects
            shutil.chown(path, "nobody", "nogroup")
        mta.wait_for_port(imap, process)
        with imaplib.IMAP4("127.0.0.1", imap) as client:
            client.login("bob", "secret")
            client.select()
            _, fetched = client.fetch("1", "(RFC822)")
        assert isinstance(fetched[0], tuple)
        message = fetched[0][1]
        assert message.replace(b"\r\n", b"\n").endswith(BODY + FOOTER)
        assert message.startswith(b"Return-Path: <a@example.org>")
