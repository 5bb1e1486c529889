#!/bin/sh
# Appends a footer to every message, with a shell alone:
#     --transform 'examples/footer.sh Sent through example.com'
# For plain text: mail readers ignore text after the last part of a multipart message.
cat
printf -- '-- \n%s\n' "${*:-This mail went through smtpstatus.}"
