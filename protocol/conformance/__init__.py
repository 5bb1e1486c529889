"""Conformance tests for SMTPStatus servers (docs/protocol.md): `smtpstatus check`.

case         one test, as a value: datagrams, and the expected responses
expectation  the right responses to one datagram
table        all tests for a dialect and a token
prober       the sockets over which they are sent
runner       runs them against a server
report       the results as text, JSON and JUnit XML
"""
