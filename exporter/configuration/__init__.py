"""The exporter's configuration, validated when it is loaded.

config    targets, probe networks and the API, from YAML files or the environment
fields    single fields as text
secret    tokens in files, reread when they change
flags     command-line flags with environment twins
"""
