"""What the `smtpstatus` command does, shows and finds out."""
