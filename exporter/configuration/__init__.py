"""What the exporter is told, checked before it is used.

document  YAML whose every value knows its place
secret    tokens in files, read again when they change
layout    dialects of the user's own
config    targets, networks, the API
flags     the command line and its variables
"""
