"""What a store can do is tried for real, said in its words, and nothing is left behind."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import FEATURE_DISABLED

from tests.abilities import DELETIONS, USES, abilities
from tests.support.server import running_server
from tests.support.services import address, in_this_process

ALL = [*USES, *DELETIONS]


def what_is_there() -> tuple[set[str], list]:
    experiments = {experiment.name for experiment in mlflow.search_experiments()}
    return experiments - {"Default"}, list(mlflow.search_registered_models())


def test_a_folder_can_do_all_and_holds_nothing_afterwards(tmp_path):
    found = abilities(str(tmp_path / "store"))
    assert found.to_dict() == dict.fromkeys(ALL, "yes")
    assert what_is_there() == (set(), [])
    assert {path.name for path in (tmp_path / "store").iterdir()} <= {"mlflow.db", "mlflow.lock"}


def test_a_server_can_do_all_and_holds_nothing_afterwards(tmp_path):
    with running_server(tmp_path) as server:
        assert abilities(server.url).to_dict() == dict.fromkeys(ALL, "yes")
        assert what_is_there() == (set(), [])


def test_what_a_service_refuses_is_quoted_and_the_rest_goes_on(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise MlflowException("Aliases are disabled here.\nAsk your admin.", FEATURE_DISABLED)

    monkeypatch.setattr("mlflow.MlflowClient.set_registered_model_alias", refuse)
    found = abilities(str(tmp_path / "store"))
    assert found.pop("aliases") == "no: MlflowException: Aliases are disabled here."
    assert set(found) == {"yes"}


def test_an_answer_that_is_another_one_is_a_no(tmp_path, monkeypatch):
    monkeypatch.setattr("mlflow.MlflowClient.search_model_versions", lambda *_: [])
    found = abilities(str(tmp_path / "store"))
    assert [what for what in found.index if found[what] != "yes"] == [what for what in USES if " by " in what][1:]


def test_a_store_that_cannot_be_opened_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        abilities(str(tmp_path / "file" / "store"))


@pytest.mark.parametrize(
    ("scheme", "lacking"),
    [
        ("like-unity", {"versions by LIKE", "versions by a tag"}),
        (
            "like-azureml",
            {"logged models of MLflow 3", "versions by LIKE", "versions by a tag", "aliases", "copies of versions"},
        ),
        ("like-fabric", {"logged models of MLflow 3", "aliases"}),
    ],
)
def test_what_each_service_lacks_is_told(scheme, lacking, tmp_path):
    with in_this_process():
        found = abilities(address(scheme, tmp_path))
        assert set(found[found != "yes"].index) == lacking
        assert what_is_there() == (set(), [])


def test_what_comes_after_a_step_that_failed_was_not_tried(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("no runs", FEATURE_DISABLED)

    monkeypatch.setattr("mlflow.MlflowClient.create_run", refuse)
    found = abilities(str(tmp_path / "store"))
    assert found["runs, sorted by a metric"] == "no: MlflowException: no runs"
    assert found["artifacts"] == found["deleting a run"] == "not tried, for want of: run"
    assert found["deleting an experiment"] == "yes"


def test_an_error_of_the_stores_own_kind_is_a_no_with_its_name(tmp_path, monkeypatch):
    """A plugin may raise a KeyError, which is a LookupError."""

    def stumble(*_: object, **__: object) -> None:
        raise KeyError("workspace")

    monkeypatch.setattr("mlflow.MlflowClient.log_text", stumble)
    assert abilities(str(tmp_path / "store"))["artifacts"] == "no: KeyError: 'workspace'"
