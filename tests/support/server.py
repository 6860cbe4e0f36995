"""An MLflow server that can be killed and started again, and a proxy before it: it loses answers, and outlives it."""

import http.client
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from helpers.child import answers, free_ports
from helpers.team import QUIET
from helpers.team_users import prepare_users


class Server:
    """`mlflow server` on a folder; start and kill may be called in turn. It has users where it gets their folder."""

    def __init__(self, folder: Path, python: str = sys.executable, users: Path | None = None) -> None:
        self.folder, self.python, self.users, self.port = folder, python, users, free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = [
            "--backend-store-uri",
            f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination",
            "artifacts",
        ]
        app = ["--app-name", "basic-auth"] if self.users else []
        command = [self.python, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1", *place, *app]
        self.log = (self.folder / "log").open("a")
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **QUIET, **(prepare_users(self.users) if self.users else {})},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        while not answers(f"{self.url}/health"):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


@contextmanager
def running_server(folder: Path, python: str = sys.executable, users: Path | None = None) -> Iterator[Server]:
    server = Server(folder, python, users)
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


class Proxy(http.server.ThreadingHTTPServer):
    """Hands requests on, and loses the answer to the next one of the kind `lose`: by cutting the line, or as a 503.

    What has the word `unknown` in its path is answered as by a server that does not know it.
    """

    daemon_threads = True

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.server_port_behind = server.port
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.kinds: dict[str, None] = {}
        self.lose: str | None = None
        self.cut = True
        self.unknown: str | None = None  # what the server behind is to pass for not knowing
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.unknown and self.server.unknown in self.path:
            return self.reply(404, b"<title>404 Not Found</title>", "text/html")
        behind = http.client.HTTPConnection("127.0.0.1", self.server.server_port_behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        content = answer.read()
        kind = kind_of(self.command, self.path)
        self.server.kinds[kind] = None
        if kind != self.server.lose:
            self.reply(answer.status, content, answer.getheader("Content-Type", "application/json"))
            return
        self.server.lose = None
        if self.server.cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.reply(503, b"lost", "text/plain")

    def reply(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = hand_on  # noqa: N815  http.server asks for these names


def kind_of(method: str, path: str) -> str:
    """A request without what differs from one trial to the next."""
    path = re.sub(r"(/artifacts)/.*", r"\1", urlparse(path).path)
    return f"{method} {re.sub(r'm-[0-9a-f]{32}|[0-9a-f]{32}', '*', path)}"
