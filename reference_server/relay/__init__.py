"""The client side of SMTP and LMTP: messages to a next hop (docs/filter.md)."""
