"""A line to a service, byte for byte as signed requests need it, on which something may befall one request."""

import re
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress


class Line(socketserver.ThreadingTCPServer):
    """Hands on to a port of this machine; `at` says what befalls the next request that begins like a pattern."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Ends)
        self.port_behind, self.url = port, f"http://127.0.0.1:{self.server_address[1]}"
        self.awaited: tuple[str, Callable[[], None] | None] | None = None
        self.answers_lost = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def at(self, pattern: str, befall: Callable[[], None] | None = None) -> None:
        """Call befall before that request is handed on; without it, hand it on and cut the line when it is answered."""
        self.awaited = pattern, befall

    def befalls(self, request: bytes) -> bool:
        """Let befall what awaits a request; whether its answer is to be lost."""
        if not self.awaited or not re.match(self.awaited[0].encode(), request):
            return False
        (_, befall), self.awaited = self.awaited, None
        if befall:
            befall()
        return befall is None


class Ends(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.lose = threading.Event()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.port_behind)) as behind:
            threading.Thread(target=self.hand_back, args=[behind], daemon=True).start()
            while sent := self.request.recv(65536):
                if self.server.befalls(sent):
                    self.lose.set()
                behind.sendall(sent)

    def hand_back(self, behind: socket.socket) -> None:
        with suppress(OSError):
            while answer := behind.recv(65536):
                if self.lose.is_set() and not answer.startswith(b"HTTP/1.1 100"):  # which only asks for the body
                    self.server.answers_lost += 1
                    break
                self.request.sendall(answer)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
