"""The exporter's HTTP server, independent of the routes.

listen      sockets: TCP, Unix, systemd's
tls         certificates of the server and of clients
web_config  the official exporters' web configuration file
web_file    the web configuration in use
server      uvicorn's server, with TLS handshakes that are limited and logged
connection  HTTP/1.1 on uvicorn, with limits for each connection
head        request heads that are rejected
limits      limits that requests and connections share
auth        users, passwords, the API token
middleware  proxies, paths, HEAD, CORS
responses   problem documents, content negotiation, long bodies
disconnect  cancels the work of clients that disconnected
"""
