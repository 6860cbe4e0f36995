"""The work of tests.support.work as a process, killed or not, and what the store must be like when it is done."""

import atexit
import multiprocessing
import os
import signal
import subprocess
import time
from tempfile import NamedTemporaryFile

from joblib.externals.loky import get_reusable_executor

from helpers import registry
from helpers.stores.store import use_store
from helpers.trials import model_names
from tests.conftest import ROOT
from tests.support import work
from tests.support.services import in_this_process
from tests.support.work import WORK, notes_of, whole

# TensorFlow takes six seconds of a processor to import, and these tests start it over a hundred times.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.support.imported", "tests.support.process"])


class Work:
    """A process that does some of tests.support.work; its methods are those of subprocess.Popen."""

    def __init__(self, *arguments: str, leader: bool = False) -> None:
        self.stdout, self.stderr = NamedTemporaryFile("r"), NamedTemporaryFile("r")  # noqa: SIM115  as long as it is
        written = self.stdout.name, self.stderr.name
        self._process = FORKED.Process(target=_work, args=(arguments, leader, written, dict(os.environ)))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def readline(self) -> str:
        """The next line that it prints, waited for; "" when it has ended."""
        while not (line := self.stdout.readline()) and self.returncode is None:
            time.sleep(0.01)
        return line or self.stdout.readline()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("tests.support.work", timeout)
        with self.stdout, self.stderr:
            return self.stdout.read(), self.stderr.read()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def _work(arguments: tuple[str, ...], leader: bool, written: tuple[str, str], environment: dict[str, str]) -> None:
    for number, name in enumerate(written, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
    if leader:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    try:
        with in_this_process():
            work.main(*arguments)
    finally:  # a forked process ends without them, and multiprocessing would wait for joblib's workers
        get_reusable_executor(reuse=True).shutdown()
        atexit._run_exitfuncs()


def start(store: str, name: str, *stage: str, leader: bool = False) -> Work:
    """A small sweep or search as a process, after its imports; as a leader of its own group it can be killed whole."""
    process = Work(store, name, *stage, leader=leader)
    assert process.readline() == "ready\n", process.stderr.read()
    return process


def finish(store: str, work: str) -> None:
    """Run the work to its end, and see that the store is whole and no finished trial was trained again."""
    done, before = registered(store), trained(store)
    output, errors = start(store, work).communicate(timeout=120)
    assert errors == "", output
    whole(store, WORK[work][1])
    assert not set(done) & set(trained(store)[len(before) :])


def registered(store: str) -> list[str]:
    use_store(store)
    found = [v for name in model_names() for v in registry.search_versions(f"name = '{name}'")]
    return [version.tags["trial"] for version in found]


def trained(store: str) -> list[str]:
    noted = notes_of(store)
    return noted.read_text().split() if noted.exists() else []
