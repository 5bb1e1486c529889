"""Users, and the catch-all Maildir."""

from reference_server.address import Address
from reference_server.mailboxes import Mailboxes


def directory(mailboxes: Mailboxes, local: str) -> str | None:
    return mailboxes.directory(Address(local, "example.com"))


def test_every_local_part_is_a_user_without_a_list() -> None:
    assert directory(Mailboxes(), "Somename") == "somename"


def test_listed_users_exist_in_any_case_and_others_do_not() -> None:
    mailboxes = Mailboxes(("Ann", "grüße"))

    assert directory(mailboxes, "aNN") == "ann"
    assert directory(mailboxes, "grüße") == Address("grüße", "").directory
    assert directory(mailboxes, "bob") is None


def test_postmaster_always_exists() -> None:
    assert directory(Mailboxes(("ann",)), "Postmaster") == "postmaster"
    assert Mailboxes(("ann",)).directory(Address("postmaster", "")) == "postmaster"


def test_a_catch_all_receives_mail_of_all_other_users() -> None:
    mailboxes = Mailboxes(("ann",), "rest")

    assert directory(mailboxes, "ann") == "ann"
    assert directory(mailboxes, "bob") == "rest"
    assert directory(Mailboxes(catch_all="rest"), "bob") == "rest"
