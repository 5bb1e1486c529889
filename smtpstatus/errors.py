"""The error that every command reports in one line before it exits with status 2."""


class ConfigError(Exception):
    """Error in a flag, a variable or a file: one line with the place and the remedy, never a secret."""
