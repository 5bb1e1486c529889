"""A Postfix whose files are all in one directory, for the benchmarks and for the tests."""

import os
import pwd
import subprocess
from pathlib import Path

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log/mail.log
maillog_file_prefixes = {home}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.org
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = {mailboxes}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_client_connection_count_limit = 0
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
proxymap  unix - - n - - proxymap
anvil     unix - - n - 1 anvil
virtual   unix - n n - - virtual
error     unix - - n - - error
retry     unix - - n - - error
postlog   unix-dgram n - n - 1 postlogd
"""


def configure(home: Path, port: int, mailboxes: str, main: str = "", master: str = "") -> None:
    """Creates the directories and files of an instance; `main` and `master` are added to those files.

    `mailboxes` is a table from the addresses of example.org to Maildirs below HOME/mail. Other users must be able to
    enter `home`. Requires root.
    """
    unprivileged = pwd.getpwnam("nobody")
    for part in ("etc", "queue", "data", "log", "mail"):
        (home / part).mkdir(parents=True)
    os.chown(home / "data", pwd.getpwnam("postfix").pw_uid, -1)
    os.chown(home / "mail", unprivileged.pw_uid, unprivileged.pw_gid)
    own = _MAIN.format(
        home=home, mailboxes=mailboxes, uid=unprivileged.pw_uid, gid=unprivileged.pw_gid
    )
    (home / "etc/main.cf").write_text(own + main)
    (home / "etc/master.cf").write_text(_MASTER.format(port=port) + master)


def check(home: Path) -> None:
    """Creates the queue as `postfix start` does, which would also detach the master process."""
    subprocess.run(("postfix", "-c", home / "etc", "check"), check=True, capture_output=True)


def command(home: Path) -> tuple[str, ...]:
    """Command that runs an instance in the foreground with all processes in one group."""
    query = ("postconf", "-h", "daemon_directory")
    daemons = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    return (f"{daemons}/master", "-c", str(home / "etc"), "-d")
