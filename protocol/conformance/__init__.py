"""What a server must do (docs/protocol.md), and whether one does it: `smtpstatus check`.

case         one thing that a server must do, as a value
table        all of them, for a dialect and a token
examination  the table sent to a server
report       what was found, for people, for scripts, and as JUnit's XML
"""
