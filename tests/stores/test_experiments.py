"""Experiments that somebody changed are refused with the command that brings them back."""

import re
import sqlite3
import subprocess
from contextlib import closing

import mlflow
import pytest

from helpers.candidates import best_version, leaderboard
from helpers.stores import StoreError
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from helpers.trials import PRODUCT, Trial
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials, whole


def command_of(sentence: str) -> str:
    return re.search(r"with: (.*)", sentence)[1]


@pytest.mark.parametrize("deed", ["delete", "rename"])
def test_an_experiment_that_is_gone_is_brought_back_by_the_command_in_the_sentence(store, deed):
    run_sweep(trials()[:1], SPLIT)
    client, experiment = mlflow.MlflowClient(), mlflow.get_experiment_by_name(CANDIDATES[0])
    if deed == "delete":
        client.delete_experiment(experiment.experiment_id)
    else:
        client.rename_experiment(experiment.experiment_id, "it's mine")
    with pytest.raises(
        StoreError, match=f"The experiment {CANDIDATES[0]} of this STORE (was deleted|is called)"
    ) as raised:
        use_store(str(store))
    subprocess.run(command_of(str(raised.value)), shell=True, check=True, capture_output=True)
    use_store(str(store))
    assert run_sweep(trials()[:1], SPLIT)["outcome"].tolist() == ["found"]
    whole(str(store), 1)


def test_an_experiment_of_somebody_elses_is_not_filled(tmp_path):
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.MlflowClient(database).create_experiment(CANDIDATES[1], (tmp_path / "elsewhere").as_uri())
    with pytest.raises(StoreError, match=f"The experiment {CANDIDATES[1]} of this STORE was made by somebody else"):
        use_store(str(tmp_path))


@pytest.mark.parametrize("revision", ["0000000000aa", "451aebb31d03"])
def test_a_database_of_another_mlflow_is_said_to_be_one(store, revision):
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    copy = store.parent / "copy"  # which MLflow has not opened yet
    store.rename(copy)
    with pytest.raises(StoreError, match=r"was made by another MLflow than .*: install that one, or, .* db upgrade"):
        use_store(str(copy))


def test_a_store_of_an_earlier_version_can_be_read_by_somebody_who_may_make_nothing(store, monkeypatch):
    """It lacks the experiments that came with other libraries; what is there is found, and only claiming says so."""
    run_sweep(trials()[:1], SPLIT)
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("DELETE FROM experiments WHERE name IN (?, ?)", [f"{PRODUCT}-linear", f"{PRODUCT}-torch"])

    def refuse(*_: object) -> None:
        raise mlflow.MlflowException("attempt to write a readonly database")

    monkeypatch.setattr(mlflow, "create_experiment", refuse)
    use_store(str(store))
    assert leaderboard("made-up")["architecture"].tolist() == ["small"]
    assert best_version("made-up").name == CANDIDATES[0]
    linear = Trial("linear", {"C": 0.1}, 0, "strong", "made-up")
    with pytest.raises(LookupError, match=f"no experiment '{PRODUCT}-linear'"):
        run_trial(linear, SPLIT)


def test_a_store_without_any_that_nothing_can_be_made_in_is_refused(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise mlflow.MlflowException("attempt to write a readonly database")

    monkeypatch.setattr(mlflow, "create_experiment", refuse)
    with pytest.raises(mlflow.MlflowException, match="readonly"):
        use_store(str(tmp_path))
