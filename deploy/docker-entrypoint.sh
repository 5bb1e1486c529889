#!/bin/sh
# Entry point of the image: flags alone are passed to the exporter; a command is executed as it is.
#
#   docker run IMAGE --help
#   docker run IMAGE smtpstatus-server --maildir=/var/lib/smtpstatus/mail
set -eu
case ${1--} in
-*) set -- smtpstatus-exporter "$@" ;;
esac
exec "$@"
