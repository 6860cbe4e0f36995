"""Processes that use one store at the same time do not harm it, nor each other."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import mlflow
import psutil
import pytest

from helpers import registry, runs
from helpers.store import CANDIDATES, use_store
from helpers.sweep import run_sweep
from tests.conftest import ROOT
from tests.faults.work import SPLIT, trials, whole

LOG_A_RUN = """
import mlflow, sys
from helpers.store import CANDIDATES, use_store
use_store(sys.argv[1])
mlflow.set_experiment(CANDIDATES[1])
with mlflow.start_run():
    mlflow.log_metric("a", 1.0)
"""
REGISTER_FIFTY = """
import sys
from helpers import registry
from helpers.store import use_store
store, uri, name, process = sys.argv[1:]
use_store(store)
for number in range(50):
    registry.register(uri, name, {"trial": f"{process}-{number}"})
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def errors_of(processes: list[subprocess.Popen]) -> list[str]:
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
    command = [sys.executable, "-m", "tests.faults.work", str(store)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    assert errors_of(processes) == ["", ""]
    whole(str(store))
    found = mlflow.search_runs(experiment_names=CANDIDATES)
    assert found["status"].tolist() == ["FINISHED"] * 9  # neither closed a living run of the other
    assert len((store.parent / "trained").read_text().split()) == 9


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
    code = f"from tests.faults.work import *; use_store({str(store)!r}); run_sweep(trials(2), SPLIT, n_jobs=2)"
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


# Claims, one by one


def test_of_two_claims_the_first_holds_and_gives_way_when_its_process_is_gone(store, monkeypatch):
    use_store(str(store))
    first = runs.claim(CANDIDATES[0], "abc", "a trial").info.run_id
    assert runs.claim(CANDIDATES[0], "abc", "a trial") is None
    assert runs.claim(CANDIDATES[0], "def", "another trial") is not None
    monkeypatch.setattr(runs, "_claimed", set())
    second = runs.claim(CANDIDATES[0], "abc", "a trial").info.run_id
    assert second != first
    runs.close_dead_runs()
    assert mlflow.get_run(first).info.status == "KILLED"
    assert mlflow.get_run(second).info.status == "RUNNING"


def test_a_run_of_another_machine_lives_as_long_as_its_heart_beats(store, monkeypatch):
    use_store(str(store))
    client, claimed = mlflow.MlflowClient(), runs.claim(CANDIDATES[0], "abc", "a trial").info
    run, home = claimed.run_id, claimed.experiment_id
    client.set_tag(run, "owner", "another-machine 1 1")
    for age, lives in ((0, True), (20, True), (40, False)):
        client.set_tag(run, "heartbeat", str(time.time() - age))
        assert runs.living_runs(home, "abc") == ([run] if lives else [])
    monkeypatch.setattr(runs, "BEAT_SECONDS", 0.1)
    with runs.heartbeat(run):
        time.sleep(0.5)
        assert runs.living_runs(home, "abc") == [run]
    runs.close_dead_runs()
    assert mlflow.get_run(run).info.status == "RUNNING"


def test_a_process_with_a_dead_ones_number_does_not_keep_its_run_alive(store):
    use_store(str(store))
    claimed, another = runs.claim(CANDIDATES[0], "abc", "a trial").info, psutil.Process().parent()
    for born, lives in ((another.create_time(), True), (another.create_time() - 1000, False)):
        owner = f"{platform.node()} {another.pid} {born:.0f}"
        mlflow.MlflowClient().set_tag(claimed.run_id, "owner", owner)
        assert runs.living_runs(claimed.experiment_id, "abc") == ([claimed.run_id] if lives else [])


def test_a_dead_run_whose_version_was_registered_is_finished(store):
    use_store(str(store))
    run_sweep(trials()[:1], SPLIT)
    (version,) = mlflow.search_model_versions()
    mlflow.MlflowClient().update_run(version.run_id, status="RUNNING")
    runs.close_dead_runs()
    assert mlflow.get_run(version.run_id).info.status == "FINISHED"
    assert registry.find_version(version.name, version.tags["trial"]).version == version.version
