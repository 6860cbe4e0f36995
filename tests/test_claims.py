"""A trial is held by one living run at a time."""

import platform
import time

import mlflow
import psutil

from helpers import claims, registry
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials


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


def test_a_run_of_another_machine_lives_as_long_as_its_heart_beats(store, monkeypatch):
    use_store(str(store))
    client, claimed = mlflow.MlflowClient(), claims.claim(CANDIDATES[0], "abc", "a trial").info
    run, home = claimed.run_id, claimed.experiment_id
    client.set_tag(run, "owner", "another-machine 1 1")
    for age, lives in ((0, True), (20, True), (40, False)):
        client.set_tag(run, "heartbeat", str(time.time() - age))
        assert claims.living_runs(home, "abc") == ([run] if lives else [])
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    with claims.heartbeat(run):
        time.sleep(0.5)
        assert claims.living_runs(home, "abc") == [run]
    claims.close_dead_runs()
    assert mlflow.get_run(run).info.status == "RUNNING"


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


def test_a_claim_that_comes_second_is_withdrawn(store, monkeypatch):
    monkeypatch.setattr(claims, "_claimed", set())
    answers = iter([[], ["another run, which started first"]])
    monkeypatch.setattr(claims, "living_runs", lambda *names: next(answers))
    assert claims.claim(CANDIDATES[0], "abc", "second") is None
    assert mlflow.active_run() is None
    assert claims._claimed == set()
    assert mlflow.search_runs(experiment_names=CANDIDATES).empty
    (withdrawn,) = mlflow.search_runs(
        experiment_names=CANDIDATES, run_view_type=mlflow.entities.ViewType.DELETED_ONLY, output_format="list"
    )
    assert withdrawn.info.status == "KILLED"
