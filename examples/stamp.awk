#!/usr/bin/awk -f
# Appends a header field with the sender and the client's address:
#     --transform examples/stamp.awk
# The values come from the environment; they hold no control characters.
BEGIN { header = 1 }
header && $0 == "" {
    print "X-Stamped: " ENVIRON["MESSAGE_ID"] " from " ENVIRON["CLIENT_ADDRESS"] ", sender <" ENVIRON["SENDER"] ">"
    header = 0
}
{ print }
