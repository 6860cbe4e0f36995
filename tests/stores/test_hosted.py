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
from helpers.stores.hosted import Client, alias_uri, either, lacks
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from helpers.trials import product_name
from tests.support.services import PROFILES, address, in_this_process
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


@pytest.mark.parametrize("scheme", PROFILES)
def test_the_sweep_finds_its_trials_and_the_best_on_any_service(scheme, tmp_path):
    three = trials()[:3]
    with in_this_process():
        use_store(address(scheme, tmp_path))
        first = run_sweep(three, SPLIT)
        assert first["outcome"].tolist() == ["trained"] * 3
        assert run_sweep(three, SPLIT, n_jobs=1)["outcome"].tolist() == ["found"] * 3
        board = candidates.leaderboard(three[0].data)
        assert sorted(zip(board["model"], board["version"], strict=True)) == sorted(
            zip(first["model"], first["version"], strict=True)
        )
        best = candidates.best_version(three[0].data)
        assert (best.name, int(best.version)) == (board.iloc[0]["model"], board.iloc[0]["version"])
        assert registry.load(best).predict(SPLIT.validation).std() > 0


@pytest.mark.parametrize("scheme", PROFILES)
def test_an_alias_is_set_moved_back_and_deleted_on_any_service(scheme, tmp_path):
    with in_this_process():
        use_store(address(scheme, tmp_path))
        versions = [run_trial(trial, SPLIT) for trial in trials()[:2]]
        client, name = Client(), versions[0].name
        copies = [client.copy_model_version(f"models:/{name}/{v.version}", product_name()) for v in versions]
        assert [registry.find_copy(version, product_name()).version for version in versions] == [
            copy.version for copy in copies
        ]
        for copy in (*copies, copies[0]):
            client.set_registered_model_alias(copy.name, "champion", copy.version)
            pointed = client.get_model_version_by_alias(copy.name, "champion")
            assert (pointed.version, pointed.run_id) == (copy.version, copy.run_id)
            assert mlflow.models.get_model_info(alias_uri(copy.name, "champion")).run_id == copy.run_id
        assert registry.champion(trials()[0].data).version == copies[0].version
        client.delete_registered_model_alias(product_name(), "champion")
        with pytest.raises(MlflowException, match="alias"):
            client.get_model_version_by_alias(product_name(), "champion")
        with pytest.raises(LookupError, match="no champion"):
            registry.champion(trials()[0].data)


def test_an_alias_stays_with_its_model_where_it_is_a_tag_and_the_version_is_copied(tmp_path):
    with in_this_process():
        use_store(address("like-azureml", tmp_path))
        version = run_trial(trials()[0], SPLIT)
        Client().set_registered_model_alias(version.name, "champion", version.version)
        Client().copy_model_version(f"models:/{version.name}/{version.version}", product_name())
        with pytest.raises(MlflowException, match=f"{product_name()} has no alias champion"):
            Client().get_model_version_by_alias(product_name(), "champion")


@pytest.mark.parametrize("alias", ["latest", "v7", "V7", "a b", "", "a.b"])
def test_a_word_that_cannot_be_an_alias_is_refused_everywhere_and_proves_nothing(alias, store, version, tmp_path):
    with pytest.raises(MlflowException, match="alias"):
        Client().set_registered_model_alias(version.name, alias, version.version)
    assert not lacks("aliases")
    assert "alias" not in str(registry.search_versions(f"name = '{version.name}'")[0].tags)


def test_a_missing_alias_does_not_make_a_store_one_without(store, version):
    with pytest.raises(MlflowException, match="alias"):
        Client().get_model_version_by_alias(version.name, "champion")
    assert not lacks("aliases")
