"""A small SMTP server that loses nothing and answers SMTPStatus; docs/design.md lists its modules."""
