#!/usr/bin/awk -f
# A header at the end of the header, saying who sent the mail and from where:
#     --transform examples/stamp.awk
# The values come from the environment; the server lets no control character into them.
BEGIN { header = 1 }
header && $0 == "" {
    print "X-Stamped: " ENVIRON["MESSAGE_ID"] " from " ENVIRON["CLIENT_ADDRESS"] ", sender <" ENVIRON["SENDER"] ">"
    header = 0
}
{ print }
