"""A process that ends when this one does, however that ends: its keeper lives as long as its standard input is open."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.error import URLError

LOOPBACK = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 120, 20
TAIL = 1500  # characters of a log that are shown


class Child:
    """A program that may be started and stopped in turn; what it says goes to a file <name>.log in its folder."""

    def __init__(
        self, name: str, command: list[str], folder: Path, is_up: Callable[[], bool], environment: Mapping[str, str]
    ) -> None:
        self.name, self.command, self.folder = name, command, folder
        self.is_up, self.environment = is_up, environment
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Child":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until is_up. Raises RuntimeError, with the end of its log, where it does not come up."""
        with self.log.open("a") as log:
            self._said_before = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-I", __file__, *self.command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is for us, and we end it
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_up():
            if self.has_ended() or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"The {self.name} did not come up; it said: {self.said()}")
            time.sleep(0.1)

    def has_ended(self) -> bool:
        """Whether it is not running, or not any more."""
        return self.process is None or self.process.poll() is not None

    def said(self) -> str:
        """The end of what it said since its last start, in one line."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            return " ".join(log.read().decode(errors="replace").split())[-TAIL:]

    def stop(self) -> None:
        """End it and all that it started; nothing happens where it has ended."""
        if self.process is None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS + 5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def answers(page: str) -> bool:
    """Whether a page, given by its address, is there: at once, and with status 200."""
    try:
        return urllib.request.urlopen(page, timeout=2).status == 200
    except (URLError, OSError):
        return False


def free_ports(count: int) -> list[int]:
    """As many ports of this machine that nobody listens on now."""
    probes = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def check_port(port: int) -> None:
    """Raise RuntimeError where somebody listens on a port of this machine."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        raise RuntimeError(f"Port {port} of this machine cannot be used ({error.strerror}); choose another.") from error


# What runs in the keeper


def _keep(command: list[str]) -> None:
    """Run a command in this group of processes, and end the whole group with it, or with standard input."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which is not heard by what a shell has put in the background
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=[child], daemon=True).start()
    sys.stdin.read()
    os.killpg(0, signal.SIGINT)
    time.sleep(STOP_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _end_after(child: subprocess.Popen) -> None:
    child.wait()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _keep(sys.argv[1:])
