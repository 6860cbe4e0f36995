"""A model behind HTTP on this machine: MLflow's own scoring server, at one address, replaced without a lost request."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from helpers.child import LOOPBACK, answers

START_SECONDS, STOP_SECONDS = 120, 30  # a library may take half a minute to import; a batch some seconds to answer
ACCEPT = "accept\n"


class Service:
    """An address that stays, and behind it the server of one model at a time.

    The listening socket belongs to this process, so requests wait in it while nobody takes them. A server is a process
    that ends when this one does, however that ends: its standard input closes then. Leave it by `with`, or by stop.
    """

    def __init__(self) -> None:
        self._socket, self._server = _listen(), None
        self.url = _url(self._socket)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def serve(self, folder: Path) -> None:
        """Put the model in a folder behind the address, in the place of the one before.

        The new server is up, and its page /health says so, before it takes requests; the old one answers what it has
        taken and then goes. Raises RuntimeError, with what the server said, when it does not come up; then the old one
        stays.
        """
        server = _Server(folder, self._socket)
        server.wait_until_healthy()
        server.accept()
        if self._server:
            self._server.stop()
        self._server = server

    @property
    def process_id(self) -> int:
        """The number of the server's process."""
        return self._server.process.pid

    def stop(self) -> None:
        """End the server and give the address back."""
        if self._server:
            self._server.stop()
        self._server = None
        self._socket.close()


class _Server:
    def __init__(self, folder: Path, shared: socket.socket) -> None:
        own = _listen()
        self.health = f"{_url(own)}/health"
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  open as long as the server
        sockets = own.fileno(), shared.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "helpers.serving", str(folder), *map(str, sockets)],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=sockets,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is for us, and we end it
        )
        own.close()

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.health):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                self.log.seek(0)
                raise RuntimeError(f"The model's server did not come up; it said: {self.log.read()[-2000:]}")
            time.sleep(0.05)

    def accept(self) -> None:
        self.process.stdin.write(ACCEPT)
        self.process.stdin.flush()

    def stop(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _listen() -> socket.socket:
    return socket.create_server((LOOPBACK, 0), backlog=1024)


def _url(listening: socket.socket) -> str:
    return f"http://{LOOPBACK}:{listening.getsockname()[1]}"


# What runs in the server's process


def _run(folder: str, own: socket.socket, shared: socket.socket) -> None:
    """Answer on our own socket, from ACCEPT on also on the shared one, and end with standard input."""
    import uvicorn
    from mlflow.pyfunc import load_model, scoring_server

    app = scoring_server.init(load_model(folder))
    # One request for each connection: one that is kept open would be cut when its server goes.
    config = uvicorn.Config(
        app,
        interface="wsgi" if hasattr(app, "wsgi_app") else "auto",  # Flask, in MLflow 2
        log_level="warning",
        headers=[("Connection", "close")],
    )
    asyncio.run(_serve_both(config, own, shared))


async def _serve_both(config: object, own: socket.socket, shared: socket.socket) -> None:
    import uvicorn

    class Patient(uvicorn.Server):
        """Takes no more connections when it is told to stop, and waits until those it has were answered."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for listening in self.servers:
                listening.close()
            while self.server_state.connections:
                await asyncio.sleep(0.01)
            await super().shutdown(sockets=[])

    servers = [Patient(config), Patient(config)]
    loop, accepting, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def listen_to_input() -> None:
        for line in sys.stdin:
            if line == ACCEPT:
                loop.call_soon_threadsafe(accepting.set)
        loop.call_soon_threadsafe(ended.set)

    async def answer_on_shared() -> None:
        await accepting.wait()
        await servers[1].serve(sockets=[shared])

    threading.Thread(target=listen_to_input, daemon=True).start()
    tasks = [asyncio.create_task(servers[0].serve(sockets=[own])), asyncio.create_task(answer_on_shared())]
    await ended.wait()
    for server in servers:
        server.should_exit = True
    if not accepting.is_set():
        tasks[1].cancel()
    await asyncio.wait(tasks)


if __name__ == "__main__":
    _run(sys.argv[1], *(socket.socket(fileno=int(number)) for number in sys.argv[2:4]))
    os._exit(0)  # threads of libraries would keep the process
