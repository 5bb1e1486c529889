"""TCP relay that counts the connections and bytes between a client and a server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(slots=True)
class Count:
    """Connections made through the relay, and bytes carried in both directions."""

    port: int
    connections: int = 0
    carried: int = 0


@contextmanager
def counting(server_port: int) -> Iterator[Count]:
    """Runs a relay on a free port of 127.0.0.1 to `server_port`."""
    lock = threading.Lock()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        count = Count(listening.getsockname()[1])

        def carry(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while piece := source.recv(1 << 16):
                    sink.sendall(piece)
                    with lock:
                        count.carried += len(piece)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

        def serve(client: socket.socket) -> None:
            with client, socket.create_connection(("127.0.0.1", server_port)) as server:
                upward = threading.Thread(target=carry, args=(client, server))
                upward.start()
                carry(server, client)
                upward.join()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    count.connections += 1
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        yield count
        listening.shutdown(socket.SHUT_RDWR)
        acceptor.join()
