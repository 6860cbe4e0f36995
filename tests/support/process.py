"""The work of tests.support.work as a process, killed or not, and what the store must be like when it is done."""

import subprocess
import sys

from helpers import registry
from helpers.stores.store import use_store
from helpers.trials import model_names
from tests.conftest import ROOT
from tests.support.work import WORK, notes_of, whole


def start(store: str, work: str, *stage: str, leader: bool = False) -> subprocess.Popen:
    """A small sweep or search as a process, after its imports; as a leader of its own group it can be killed whole."""
    command = [sys.executable, "-m", "tests.support.work", store, work, *stage]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, **pipes, text=True, start_new_session=leader)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
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
