"""Work that is killed at any moment is finished by the last run, with nothing twice or half."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.process import finish, start


@pytest.mark.parametrize(("work", "kills", "seconds"), [("nine", 24, 4), ("search", 10, 15)])
def test_kills_at_random_moments_are_mended_by_the_last_run(tmp_path, work, kills, seconds):
    """The search has two jobs, whose processes are killed with it."""
    rng, done, stores = random.Random(2024), 0, 0
    while done < kills:
        store = str(tmp_path / f"{stores}" / "store")
        Path(store).parent.mkdir()
        stores += 1
        for _ in range(5):
            done += killed_within(rng.uniform(0, seconds), store, work)
        finish(store, work)


def killed_within(seconds: float, store: str, work: str) -> bool:
    """Whether the work was still going on after that time, and was killed."""
    process = start(store, work, leader=True)
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
