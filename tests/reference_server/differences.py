"""Known differences from aiosmtpd, by the cases of its test suite that show them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """`cases` are regular expressions for whole names; `answer` is the code that our server gives instead, if one is
    compared, and the same in all of them.
    """

    why: str
    cases: tuple[str, ...]
    answer: int | None = None

    def covers(self, case: str) -> bool:
        return any(re.fullmatch(pattern, case) for pattern in self.cases)


_SMTP = r"test_smtp\.py::TestSMTP::"
_CONTROLLER = r"test_smtp\.py::TestSMTPWithController::"

DIFFERENCES = (
    Difference(
        "AUTH is not offered",
        (
            r"test_smtp\.py::(TestSMTPAuth|TestAuthMechanisms|TestAuthenticator)::.*",
            r"test_smtp\.py::TestRequiredAuthentication::.*",
            r"test_starttls\.py::TestRequireTLSAUTH::.*",
        ),
    ),
    Difference(
        "STARTTLS is not offered",
        (
            r"test_starttls\.py::(TestNoTLS|TestStartTLS|TestTLSEnding)::(?!.*_stopcontroller).*",
            r"test_starttls\.py::TestTLSForgetsSessionData::.*",
            r"test_starttls\.py::TestRequireTLS::test_(\w+_fails|ehlo)",
        ),
    ),
    Difference(
        "comments and quotes inside a local part are not read (RFC 5322 4.4), 501",
        # Indexes of the addresses concerned; the last one has no domain.
        (
            _SMTP + r"test_mail_valid_address\[(15|16|17|18|28|29|30|31|39)\]",
            _SMTP + r"test_rcpt_valid_address\[(15|16|17|18|28|29|30|31|39|42)\]",
        ),
        501,
    ),
    Difference(
        "an invalid address is 501, not 553",
        (_SMTP + r"test_(mail|mail_esmtp|rcpt)_invalid_address\[\d\]",),
        501,
    ),
    Difference("HELP is answered with 214 (RFC 5321 4.2.2)", (_SMTP + r"test_help(_.*)?",), 214),
    Difference(
        "a parameter that is not known is 555, not 501",
        (
            _SMTP + r"test_mail_esmtp_errsyntax\[malformed\]",
            _SMTP + r"test_rcpt_smtp_errsyntax\[params\]",
            _CONTROLLER + "test_mail_invalid_body",
        ),
        555,
    ),
    Difference(
        "parameters are taken after HELO, too",
        (_SMTP + r"test_mail_smtp_errsyntax\[params_noesmtp\]",),
        250,
    ),
    Difference("VRFY never looks at the address", (_SMTP + "test_vrfy_not_address",), 252),
    Difference("a command is UTF-8 or 500", (_CONTROLLER + "test_bad_encodings",), 500),
    Difference(
        "a line of a message may be longer than 1,000 octets",
        (
            _CONTROLLER + "test_data_line_too_long",
            _CONTROLLER + "test_long_line_double_count",
            _CONTROLLER + "test_too_long_line_delay_error",
            _CONTROLLER + "test_too_long_lines_then_too_long_body",
        ),
    ),
    Difference(
        "a message always has a size limit, and EHLO states it",
        (_CONTROLLER + "test_esmtp_no_size_limit",),
    ),
    Difference(
        "SMTPUTF8 and eight bits cannot be turned off",
        (r"test_smtp\.py::TestStrictASCII::test_(ehlo|mail_param|data)",),
    ),
    Difference(
        "the greeting, EHLO and texts are our own",
        (
            _SMTP + "test_ehlo",
            _CONTROLLER + "test_too_long_body_delay_error",
            r"test_smtp\.py::TestCustomization::test_(custom_hostname|\w+_greeting)",
        ),
    ),
    Difference(
        "a client that closes its sending half gets its answer",
        (r"test_smtp\.py::TestSleepingHandler::test_close_after_helo",),
    ),
    Difference(
        "421 comes before the connection is closed (RFC 5321 3.8)",
        (
            r"test_smtp\.py::TestTimeout::test_timeout",
            _SMTP + "test_data_354",
            r"test_starttls\.py::TestStartTLS::test_tls_handshake_stopcontroller",
        ),
    ),
    Difference(
        "commands are limited all together, not each",
        (r"test_smtp\.py::TestLimits::test_different_limits",),
        250,
    ),
    Difference(
        "handlers and objects of aiosmtpd's interface are asked",
        (
            r"test_smtp\.py::TestResetCommands::.*",
            _CONTROLLER + r"test_(process_message_error|unexpected_errors.*)",
            _CONTROLLER + r"test_exception_handler_.*",
            r"test_smtp\.py::TestClientCrash::test_connection_reset_in_long_command",
            r"test_smtp\.py::TestClientCrash::test_close_in_(long_)?command",
            r"test_smtp\.py::TestLimits::test_(different_limits_custom_default|limit_bogus)",
            r"test_smtp\.py::TestCustomization::test_limitlocalpart",
        ),
    ),
)

APART = Difference(
    "no server is asked: classes are tried alone, or mocked",
    (
        r"test_smtp\.py::(TestProtocol|TestAuthArgs|TestSanitize)::.*",
        r"test_smtp\.py::TestLimits::test_limit_wrong_.*",
        _CONTROLLER + "test_long_line_leak",
        r"test_smtp\.py::TestClientCrash::test_connection_reset_during_\w+",
        r"test_smtp\.py::TestClientCrash::test_(close_in_command_2|close_in_data|sockclose_after_helo)",
        r"test_starttls\.py::TestTLSContext::.*",
        r"test_server\.py::TestServer::test_(?!smtp_utf8)\w+",
    ),
)
