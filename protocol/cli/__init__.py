"""The `smtpstatus` command: one module per subcommand, of which a run imports only the chosen one."""
