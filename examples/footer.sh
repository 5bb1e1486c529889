#!/bin/sh
# A footer under every message, in nothing but a shell:
#     --transform 'examples/footer.sh Sent through example.com'
# Good for plain text; text behind the last part of a multipart message is ignored by mail readers.
cat
printf -- '-- \n%s\n' "${*:-This mail went through smtpstatus.}"
