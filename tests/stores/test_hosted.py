"""What a store does not know is done in the next best way, and nothing else is taken for that."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ENDPOINT_NOT_FOUND,
    INTERNAL_ERROR,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from helpers import candidates, registry
from helpers.stores.hosted import either
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from tests.support.services import OldTracking, UnityRegistry, service
from tests.support.work import SPLIT, trials


class Refusal:
    """Counts how often it is asked, and answers with an error."""

    def __init__(self, code: int) -> None:
        self.code, self.asked = code, 0

    def __call__(self, *_: object, **__: object) -> str:
        self.asked += 1
        raise MlflowException("no", self.code)


def test_what_a_store_does_not_know_is_asked_for_once_per_store(store, tmp_path):
    service = Refusal(ENDPOINT_NOT_FOUND)
    assert [either("tags", service, lambda: "next") for _ in range(3)] == ["next"] * 3
    assert service.asked == 1
    assert either("aliases", service, lambda: "next") == "next"
    use_store(str(tmp_path / "another"))
    assert either("tags", service, lambda: "next") == "next"
    assert service.asked == 3


@pytest.mark.parametrize("code", [INTERNAL_ERROR, PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE])
def test_any_other_error_is_raised_and_asked_again(store, code):
    service = Refusal(code)
    for _ in range(2):
        with pytest.raises(MlflowException, match="no"):
            either("tags", service, lambda: "next")
    assert service.asked == 2


def test_a_next_best_that_fails_proves_nothing(store):
    service = Refusal(ENDPOINT_NOT_FOUND)
    for _ in range(2):
        with pytest.raises(MlflowException):
            either("tags", service, Refusal(INTERNAL_ERROR))
    assert service.asked == 2


def test_a_store_without_logged_models_keeps_them_among_the_runs_artifacts(store, trial, split, monkeypatch):
    service = Refusal(ENDPOINT_NOT_FOUND)
    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore.create_logged_model", service)
    version = run_trial(trial, split)
    assert service.asked == 1
    kept = {file.path for file in mlflow.artifacts.list_artifacts(run_id=version.run_id)}
    assert kept == {"model", "loss_curves.svg", "validation_predictions.csv"}
    assert version.source.endswith(f"{version.run_id}/artifacts/model")
    assert registry.load(version).predict(split.validation).std() > 0
    assert run_trial(trial, split).version == version.version
    label = mlflow.models.Model.load(f"models:/{version.name}/{version.version}")
    assert (label.run_id, label.model_id) == (version.run_id, None)


def test_finding_and_selecting_need_no_more_than_a_search_by_name_or_by_run(tmp_path):
    three = trials()[:3]
    with service("unity", tmp_path, OldTracking, UnityRegistry) as address:
        use_store(address)
        first = run_sweep(three, SPLIT)
        assert first["outcome"].tolist() == ["trained"] * 3
        assert run_sweep(three, SPLIT)["outcome"].tolist() == ["found"] * 3
        board = candidates.leaderboard(three[0].data)
        assert sorted(zip(board["model"], board["version"], strict=True)) == sorted(
            zip(first["model"], first["version"], strict=True)
        )
        best = candidates.best_version(three[0].data)
        assert (best.name, int(best.version)) == (board.iloc[0]["model"], board.iloc[0]["version"])
        assert registry.load(best).predict(SPLIT.validation).std() > 0
