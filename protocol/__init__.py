"""SMTPStatus version 0 and its dialects: datagrams, a client, a responder and the `smtpstatus` command."""
