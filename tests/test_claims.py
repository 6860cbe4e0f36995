"""A trial is held by one living run at a time."""

import platform
import threading
import time
from types import SimpleNamespace

import mlflow
import psutil
import pytest

from helpers import claims, registry
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials


@pytest.fixture(autouse=True)
def nothing_was_claimed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_claimed", set())


def test_of_two_claims_the_first_holds_and_gives_way_when_its_process_is_gone(store, monkeypatch):
    use_store(str(store))
    first = claims.claim(CANDIDATES[0], "abc", "a trial").info.run_id
    assert claims.claim(CANDIDATES[0], "abc", "a trial") is None
    assert claims.claim(CANDIDATES[0], "def", "another trial") is not None
    monkeypatch.setattr(claims, "_claimed", set())
    second = claims.claim(CANDIDATES[0], "abc", "a trial").info.run_id
    assert second != first
    claims.close_dead_runs()
    assert mlflow.get_run(first).info.status == "KILLED"
    assert mlflow.get_run(second).info.status == "RUNNING"


def test_another_thread_that_sees_a_new_run_does_not_take_it_for_a_dead_one(store, monkeypatch):
    use_store(str(store))
    honest, others = mlflow.MlflowClient.create_run, []

    def slow_to_answer(*args, **kwargs):
        run = honest(*args, **kwargs)
        others.append(threading.Thread(target=claims.close_dead_runs))
        others[0].start()
        others[0].join(1)
        return run

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", slow_to_answer)
    run = claims.claim(CANDIDATES[0], "abc", "a trial")
    others[0].join()
    assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"


def test_a_run_that_ends_while_it_is_looked_at_keeps_how_it_ended(store, monkeypatch):
    use_store(str(store))
    run_id = claims.claim(CANDIDATES[0], "abc", "a trial").info.run_id
    honest = mlflow.search_runs

    def then_it_ends(*args, **kwargs):
        runs = honest(*args, **kwargs)
        with pytest.raises(OSError, match="no space"), claims.held(run_id):
            raise OSError("no space")
        return runs

    monkeypatch.setattr(mlflow, "search_runs", then_it_ends)
    claims.close_dead_runs()
    run = mlflow.get_run(run_id)
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "OSError: no space")


@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_a_run_of_another_machine_lives_as_long_as_its_heart_beats_whatever_its_clock_says(store, monkeypatch, minutes):
    use_store(str(store))
    client, claimed = mlflow.MlflowClient(), claims.claim(CANDIDATES[0], "abc", "a trial").info
    run, home = claimed.run_id, claimed.experiment_id
    clock = SimpleNamespace(monotonic=lambda: now, time=lambda: time.time() + 60 * minutes, sleep=time.sleep)
    monkeypatch.setattr(claims, "time", clock)
    client.set_tag(run, "owner", "another-machine 1 1")
    now = 1000.0
    client.set_tag(run, "heartbeat", "1")
    assert claims.living_runs(home, "abc") == [run]
    now += claims.DEAD_SECONDS - 1
    assert claims.living_runs(home, "abc") == [run]
    now += 2
    assert claims.living_runs(home, "abc") == []
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    with claims.heartbeat(run):
        time.sleep(0.5)
        assert claims.living_runs(home, "abc") == [run]
    claims.close_dead_runs()
    assert mlflow.get_run(run).info.status == "RUNNING"
    now += claims.DEAD_SECONDS + 1
    claims.close_dead_runs()
    assert mlflow.get_run(run).info.status == "KILLED"


def test_a_process_with_a_dead_ones_number_does_not_keep_its_run_alive(store):
    use_store(str(store))
    claimed, another = claims.claim(CANDIDATES[0], "abc", "a trial").info, psutil.Process().parent()
    for born, lives in ((another.create_time(), True), (another.create_time() - 1000, False)):
        owner = f"{platform.node()} {another.pid} {born:.0f}"
        mlflow.MlflowClient().set_tag(claimed.run_id, "owner", owner)
        assert claims.living_runs(claimed.experiment_id, "abc") == ([claimed.run_id] if lives else [])


def test_a_dead_run_whose_version_was_registered_is_finished(store):
    use_store(str(store))
    run_sweep(trials()[:1], SPLIT)
    (version,) = mlflow.search_model_versions()
    mlflow.MlflowClient().update_run(version.run_id, status="RUNNING")
    claims.close_dead_runs()
    assert mlflow.get_run(version.run_id).info.status == "FINISHED"
    assert registry.find_version(version.name, version.tags["trial"]).version == version.version


@pytest.mark.parametrize("minutes", [-10, 10])
def test_of_two_claims_at_one_moment_each_that_sees_the_other_gives_way_whatever_the_clocks_say(
    store, monkeypatch, minutes
):
    """Another run comes between our look and our claim; its clock is wrong by minutes."""
    use_store(str(store))
    home = mlflow.get_experiment_by_name(CANDIDATES[0]).experiment_id
    honest, looks = claims.living_runs, []

    def look(*names: str) -> list[str]:
        found = honest(*names)
        if not looks:
            start = int(1000 * (time.time() + 60 * minutes))
            tags = {"trial": "abc", "owner": "another-machine 1 1", "heartbeat": "1"}
            mlflow.MlflowClient().create_run(home, start, tags)
        looks.append(found)
        return found

    monkeypatch.setattr(claims, "living_runs", look)
    assert claims.claim(CANDIDATES[0], "abc", "second") is None
    assert mlflow.active_run() is None
    assert claims._claimed == set()
    assert [len(found) for found in looks] == [0, 2]
    assert len(mlflow.search_runs(experiment_names=CANDIDATES)) == 1
    (withdrawn,) = mlflow.search_runs(
        experiment_names=CANDIDATES, run_view_type=mlflow.entities.ViewType.DELETED_ONLY, output_format="list"
    )
    assert withdrawn.info.status == "KILLED"
