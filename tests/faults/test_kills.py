"""A sweep that is killed, at each stage, is finished by the next one, with nothing twice or half."""

import signal
import time
from collections import Counter
from collections.abc import Iterator

import mlflow
import pytest
from jupyter_client.manager import KernelManager

from helpers.stores.store import use_store
from helpers.trials import experiment_names
from tests.conftest import ROOT
from tests.support.process import finish, start
from tests.support.services import address, in_this_process
from tests.support.work import STAGES, whole


def statuses(store: str) -> Counter:
    use_store(store)
    return Counter(mlflow.search_runs(experiment_names=experiment_names())["status"])


@pytest.fixture
def store(store) -> str:
    return str(store)


@pytest.fixture
def service(tmp_path) -> Iterator[str]:
    """A service without logged models, tag filters, aliases and copies."""
    with in_this_process():
        yield address("like-azureml", tmp_path / "service")


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"folder half copied"}))
def test_a_kill_at_any_stage_is_mended_by_the_next_run(store, stage):
    kill_and_finish(store, stage)


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"model half copied"}))
def test_a_kill_at_any_stage_is_mended_where_a_model_is_a_folder_among_the_artifacts(service, stage):
    kill_and_finish(service, stage)


def kill_and_finish(store: str, stage: str) -> None:
    process = start(store, "three", stage)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    finish(store, "three")


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_sweep_that_is_told_to_stop_closes_its_run(store, blow):
    process = start(store, "nine")
    while "RUNNING" not in statuses(store):
        assert process.returncode is None
        time.sleep(0.05)
    process.send_signal(blow)
    output, errors = process.communicate(timeout=60)
    assert process.returncode != 0, output + errors
    assert set(statuses(store)) <= {"FINISHED", "FAILED", "KILLED"}
    finish(store, "nine")


def test_a_kernel_that_is_restarted_leaves_nothing_behind(store):
    manager = KernelManager()
    manager.start_kernel(cwd=str(ROOT))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        code = f"from tests.support.work import *; use_store({store!r}); run_sweep(trials(), SPLIT)"
        client.execute(code)
        while "RUNNING" not in statuses(store):
            time.sleep(0.05)
        manager.restart_kernel(now=False)
        client.wait_for_ready(timeout=60)
        client.execute_interactive(code, timeout=120, output_hook=print)
        assert set(statuses(store)) <= {"FINISHED", "FAILED", "KILLED"}
        whole(store)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
