"""A team's server that is used and looked at, and a process that owns one and can be killed."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import mlflow
import psutil
import pytest
from sqlalchemy import URL, make_url

from helpers import registry
from helpers.child import Child
from helpers.features import OUTCOME
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.team import TeamServer
from helpers.tools.share import DEBIAN, weed
from helpers.trials import Trial
from tests.support.work import SPLIT

TRIAL = Trial("linear", {"C": 1.0}, 1, "strong", "made-up")


def use(url: str, folder: Path) -> None:
    """Register a trial's version by a server, or find it, and load it from what the server hands out."""
    use_store(url)
    version = run_trial(TRIAL, SPLIT)
    run = mlflow.get_run(version.run_id)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert len(mlflow.search_model_versions()) == 1
    model = registry.load_folder(registry.fetch(version, str(folder)))
    brier = ((model.predict(SPLIT.validation) - SPLIT.validation[OUTCOME]) ** 2).mean()
    assert abs(brier - run.data.metrics["val_brier"]) < 1e-6


INSTALLED = weed() and find_spec("psycopg") and find_spec("boto3") and (shutil.which("initdb") or DEBIAN.exists())
parts_are_missing = pytest.mark.skipif(
    not INSTALLED and not os.environ.get("CI"),
    reason="PostgreSQL or the S3 service is not installed: make share-parts, and apt-get install postgresql",
)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, which the user postgres may pass through: pytest's own are closed to him."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "team"


def libpq(address: str | URL) -> str:
    """A PostgreSQL address of SQLAlchemy's, as psycopg itself takes it."""
    return make_url(address).set(drivername="postgresql").render_as_string(hide_password=False)


def kill(child: Child) -> None:
    """Kill a part with all its processes, of which PostgreSQL's are each in a group of its own."""
    for process in psutil.Process(child.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()


def left_in(folder: Path) -> list[str]:
    """The commands that still run of what was started in a folder, after it had half a minute to end."""
    deadline = time.monotonic() + 30
    while (running := _running_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return running


def _running_in(folder: Path) -> list[str]:
    commands = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder.resolve()):
                commands.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return commands


if __name__ == "__main__":
    with TeamServer(Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        sys.stdin.read()
