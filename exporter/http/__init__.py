"""The HTTP server's own business, whatever the route.

listen       sockets: TCP, Unix, systemd's
web          the official exporters' web configuration
tls          certificates of server and clients
gate         users, headers, how often
passwords    users' passwords, one at a time
cors         pages of other origins
head         HEAD for every GET
direct       scrapes, past FastAPI
admission    how many scrapes at once
connection   how long a client is waited for
disconnect   a client that hangs up
negotiation  the format that a client asks for
slices       long answers, a piece at a time
problem      errors as documents
"""
