"""A sweep that is killed, at each stage and at any moment, is finished by the next one, with nothing twice or half."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest
from jupyter_client.manager import KernelManager

from helpers.stores.store import use_store
from helpers.trials import CANDIDATES
from tests.conftest import ROOT
from tests.support.work import STAGES, whole

KILLS = 30


def start(store: Path, *stage: str) -> subprocess.Popen:
    """The small sweep as a process, after its imports."""
    command = [sys.executable, "-m", "tests.support.work", str(store), *stage]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finish(store: Path) -> None:
    """Run the sweep to its end, and see that the store is whole and no finished trial was trained again."""
    done, before = registered(store), trained(store)
    output, errors = start(store).communicate(timeout=120)
    assert errors == "", output
    whole(str(store))
    assert not set(done) & set(trained(store)[len(before) :])


def registered(store: Path) -> list[str]:
    use_store(str(store))
    found = [v for name in CANDIDATES for v in mlflow.search_model_versions(filter_string=f"name = '{name}'")]
    return [version.tags["trial"] for version in found]


def trained(store: Path) -> list[str]:
    noted = store.parent / "trained"
    return noted.read_text().split() if noted.exists() else []


def statuses(store: Path) -> Counter:
    use_store(str(store))
    return Counter(mlflow.search_runs(experiment_names=CANDIDATES)["status"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_is_mended_by_the_next_run(store, stage):
    process = start(store, stage)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    finish(store)


def test_kills_at_random_moments_are_mended_by_the_last_run(tmp_path):
    rng, kills, stores = random.Random(2024), 0, 0
    while kills < KILLS:
        store = tmp_path / f"{stores}" / "store"
        store.parent.mkdir()
        stores += 1
        for _ in range(5):
            process = start(store)
            try:
                process.communicate(timeout=rng.uniform(0, 4))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        finish(store)


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_sweep_that_is_told_to_stop_closes_its_run(store, blow):
    process = start(store)
    while "RUNNING" not in statuses(store):
        time.sleep(0.05)
    process.send_signal(blow)
    output, errors = process.communicate(timeout=60)
    assert process.returncode != 0, output + errors
    assert set(statuses(store)) <= {"FINISHED", "FAILED", "KILLED"}
    finish(store)


def test_a_kernel_that_is_restarted_leaves_nothing_behind(store):
    manager = KernelManager()
    manager.start_kernel(cwd=str(ROOT))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        code = f"from tests.support.work import *; use_store({str(store)!r}); run_sweep(trials(), SPLIT)"
        client.execute(code)
        while "RUNNING" not in statuses(store):
            time.sleep(0.05)
        manager.restart_kernel(now=False)
        client.wait_for_ready(timeout=60)
        client.execute_interactive(code, timeout=120, output_hook=print)
        assert set(statuses(store)) <= {"FINISHED", "FAILED", "KILLED"}
        whole(str(store))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
