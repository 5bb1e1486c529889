"""The version of the distribution. pyproject.toml reads it from here, and so do the commands."""

__version__ = "0.2.0"
