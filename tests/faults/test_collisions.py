"""Processes that use one store at the same time do not harm it, nor each other."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import mlflow
import psutil
import pytest

from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.conftest import ROOT
from tests.support import process
from tests.support.names import CANDIDATES
from tests.support.process import Work
from tests.support.work import SPLIT, notes_of, trials, whole

LOG_A_RUN = """
import mlflow, sys
from tests.support.names import CANDIDATES
from helpers.stores.store import use_store
use_store(sys.argv[1])
mlflow.set_experiment(CANDIDATES[1])
with mlflow.start_run():
    mlflow.log_metric("a", 1.0)
"""
REGISTER_FIFTY = """
import sys
from helpers import registry
from helpers.stores.store import use_store
store, uri, name, process = sys.argv[1:]
use_store(store)
for number in range(50):
    registry.register(uri, name, {"trial": f"{process}-{number}"})
"""
ON_ANOTHER_MACHINE = """
import platform, runpy, sys, time
name, minutes = sys.argv.pop(1), float(sys.argv.pop(1))
honest = time.time
time.time = lambda: honest() + 60 * minutes
platform.node = lambda: name
runpy.run_module("tests.support.work", run_name="__main__", alter_sys=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def errors_of(processes: list[subprocess.Popen | Work]) -> list[str]:
    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(lambda process: process.communicate(timeout=300)[1], processes))


@pytest.mark.parametrize("turn", range(3))
def test_eight_processes_start_at_once_on_a_store_that_does_not_exist(tmp_path, turn):
    processes = [start(LOG_A_RUN, tmp_path / "store") for _ in range(8)]
    assert errors_of(processes) == [""] * 8
    use_store(str(tmp_path / "store"))
    found = mlflow.search_runs(search_all_experiments=True)
    experiment = mlflow.get_experiment_by_name(CANDIDATES[1])
    assert Counter(found["experiment_id"]) == {experiment.experiment_id: 8}
    assert set(found["status"]) == {"FINISHED"}


def test_a_kill_while_the_store_is_first_made_does_no_harm(tmp_path):
    process = start(LOG_A_RUN, tmp_path / "store")
    partial = tmp_path / "store" / "mlflow.db.partial"
    while not partial.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.3)  # some of the tables are there by now
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert partial.exists()
    assert not (tmp_path / "store" / "mlflow.db").exists()
    again = start(LOG_A_RUN, tmp_path / "store")
    assert again.communicate()[1] == ""
    assert again.returncode == 0


def test_two_sweeps_at_the_same_time_make_each_candidate_once(store):
    assert errors_of([process.start(str(store), "nine") for _ in range(2)]) == ["", ""]
    whole(str(store))
    found = mlflow.search_runs(experiment_names=CANDIDATES)
    assert found["status"].tolist() == ["FINISHED"] * 9  # neither closed a living run of the other
    assert len(notes_of(str(store)).read_text().split()) == 9


def test_machines_whose_clocks_are_twenty_minutes_apart_make_each_candidate_once(store):
    machines = [start(ON_ANOTHER_MACHINE, f"machine{minutes}", minutes, store, "nine") for minutes in (-10, 10)]
    assert errors_of(machines) == ["", ""]
    whole(str(store))
    found = mlflow.search_runs(experiment_names=CANDIDATES)
    assert found["status"].tolist() == ["FINISHED"] * 9
    assert set(found["tags.owner"].str.split().str[0]) == {"machine-10", "machine10"}
    assert len(notes_of(str(store)).read_text().split()) == 9


def test_eight_processes_register_fifty_versions_each(store):
    use_store(str(store))
    run_sweep(trials()[:1], SPLIT)
    (version,) = mlflow.search_model_versions()
    processes = [start(REGISTER_FIFTY, store, version.source, CANDIDATES[1], number) for number in range(8)]
    assert errors_of(processes) == [""] * 8
    found = mlflow.search_model_versions(filter_string=f"name = '{CANDIDATES[1]}'")
    assert sorted(int(version.version) for version in found) == list(range(1, 401))
    assert len({version.tags["trial"] for version in found}) == 400


def test_a_worker_of_a_parallel_sweep_is_killed_six_times(store):
    use_store(str(store))
    code = f"from tests.support.work import *; use_store({str(store)!r}); run_sweep(trials(2), SPLIT, n_jobs=2)"
    process = start(code)
    for _ in range(6):
        before = len(mlflow.search_model_versions())
        victim = worker_with_a_run(process)
        os.kill(victim, signal.SIGKILL)
        while len(mlflow.search_model_versions()) == before:  # it went on
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count(": trained") + output.count(": found") == 18
    whole(str(store), 18)


def worker_with_a_run(sweep: subprocess.Popen) -> int:
    """The process id of a worker that holds a trial at this moment."""
    while True:
        assert sweep.poll() is None, sweep.stderr.read()
        for run in mlflow.search_runs(
            experiment_names=CANDIDATES, filter_string="attributes.status = 'RUNNING'", output_format="list"
        ):
            pid = int(run.data.tags["owner"].split()[1])
            if pid != sweep.pid and psutil.pid_exists(pid):
                return pid
        time.sleep(0.02)
