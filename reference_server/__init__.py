"""Small SMTP server with durable storage and SMTPStatus; docs/design.md lists its modules."""
