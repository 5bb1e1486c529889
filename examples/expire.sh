#!/bin/sh
# Deletes delivered messages older than MINUTES from every Maildir under DIR, once a minute, so that a
# demonstration never fills the disk:
#     examples/expire.sh DIR MINUTES
# Do not use it for mail that must be kept.
set -eu
directory=$1 minutes=$2
# SIGKILL, because a child that has not become `sleep` yet loses any other signal.
trap 'kill -KILL "${!:-}" 2>/dev/null || :; exit 0' INT TERM
while :; do
  find "$directory" -type f \( -path '*/new/*' -o -path '*/cur/*' \) -mmin "+$minutes" -delete ||
    : # a reader may have moved or deleted a message meanwhile
  sleep 60 &
  wait $!
done
