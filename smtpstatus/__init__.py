"""What the commands share: the log format, durations, YAML documents and the dialects that users describe."""
