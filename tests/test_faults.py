"""What happens to a store when processes collide or are killed, done for real."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow

from helpers.store import CANDIDATES, use_store

LOG_A_RUN = """
import mlflow, sys
from helpers.store import CANDIDATES, use_store
use_store(sys.argv[1])
mlflow.set_experiment(CANDIDATES[1])
with mlflow.start_run():
    mlflow.log_metric("a", 1.0)
"""


def start(store: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", LOG_A_RUN, str(store)], stderr=subprocess.PIPE, text=True)


def test_eight_processes_start_at_once_on_a_store_that_does_not_exist(tmp_path):
    processes = [start(tmp_path / "store") for _ in range(8)]
    errors = [process.communicate()[1] for process in processes]
    assert errors == [""] * 8
    use_store(str(tmp_path / "store"))
    runs = mlflow.search_runs(search_all_experiments=True)
    experiment = mlflow.get_experiment_by_name(CANDIDATES[1])
    assert Counter(runs["experiment_id"]) == {experiment.experiment_id: 8}
    assert set(runs["status"]) == {"FINISHED"}


def test_a_kill_while_the_store_is_first_made_does_no_harm(tmp_path):
    process = start(tmp_path / "store")
    partial = tmp_path / "store" / "mlflow.db.partial"
    while not partial.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.3)  # some of the tables are there by now
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.exists()
    assert not (tmp_path / "store" / "mlflow.db").exists()
    again = start(tmp_path / "store")
    assert again.communicate()[1] == ""
    assert again.returncode == 0
