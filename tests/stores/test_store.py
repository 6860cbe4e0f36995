"""Where a store is, whatever the working directory and the environment, and that using it says nothing."""

import os

import mlflow
import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

from helpers import NOTEBOOKS
from helpers.stores import StoreError
from helpers.stores.place import is_address, names_before
from helpers.stores.store import opened, store_in_use, use_store
from helpers.sweep import run_sweep
from helpers.trials import experiment_names, model_names, product_name
from tests.support.names import CANDIDATES, EXPERIMENTS
from tests.support.work import SPLIT, trials, whole


def test_everything_of_a_folder_store_lies_in_the_folder(used, version):
    artifacts = mlflow.get_run(version.run_id).info.artifact_uri
    assert artifacts.startswith((used / "artifacts" / version.name).as_uri())
    assert (used / "mlflow.db").is_file()


def test_a_relative_store_is_the_same_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.stores.place.NOTEBOOKS", tmp_path / "notebooks")
    uris = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        use_store("../store")
        uris.append(mlflow.get_tracking_uri())
    assert set(uris) == {f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"}


def test_the_environment_wins_over_the_default_and_not_over_a_choice(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.stores.place.NOTEBOOKS", tmp_path / "notebooks")
    wished = f"sqlite:///{tmp_path / 'wished.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", wished)
    use_store("../store")
    assert mlflow.get_tracking_uri() == wished
    use_store(str(tmp_path / "chosen"))
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'chosen' / 'mlflow.db'}"


def test_a_choice_does_not_pass_for_the_environments_wish(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.stores.place.NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    use_store(str(tmp_path / "chosen"))
    use_store("../store")
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


def test_a_services_plugin_finds_its_address_in_the_environment_and_a_later_call_does_not(tmp_path, monkeypatch):
    """As the one of Microsoft Fabric, which looks for the workspace there alone."""
    monkeypatch.setattr("helpers.stores.place.NOTEBOOKS", tmp_path / "notebooks")
    found = []

    def plugin(store_uri, artifact_uri=None):
        found.append((store_uri, os.environ["MLFLOW_TRACKING_URI"]))
        return SqlAlchemyStore(f"sqlite:///{tmp_path / 'service.db'}", (tmp_path / "artifacts").as_uri())

    monkeypatch.setitem(_tracking_store_registry._registry, "sds", plugin)
    use_store("sds://fabric.example/v1/workspaces/1/mlflow")
    mlflow.search_experiments()
    assert set(found) == {2 * ("sds://fabric.example/v1/workspaces/1/mlflow",)}
    assert os.environ["MLFLOW_TRACKING_URI"] == found[0][0]  # for the processes that this one starts
    use_store("../store")
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


def test_using_a_store_says_nothing_reports_nothing_and_twice_is_once(tmp_path, capfd):
    for _ in range(2):
        assert use_store(str(tmp_path / "store")) is None
    assert capfd.readouterr() == ("", "")
    assert mlflow.telemetry.get_telemetry_client() is None
    assert sorted(e.name for e in mlflow.search_experiments()) == sorted([*EXPERIMENTS, "Default"])


def test_a_store_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        use_store(str(tmp_path / "file" / "store"))


@pytest.mark.parametrize("name", ["50%", "a?b", "a#b", "a%20b"])
def test_a_folder_that_an_address_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="STORE: MLflow's addresses cannot hold the %"):
        use_store(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["127.0.0.1:5000", "localhost:5000/mlflow", "'http://127.0.0.1:5000'", '"sqlite:///a"']
)
def test_an_address_without_a_scheme_or_in_quotes_is_no_folder(place):
    before = set(NOTEBOOKS.iterdir())
    with pytest.raises(ValueError, match="is neither a folder nor an address such as http://127"):
        use_store(place)
    assert set(NOTEBOOKS.iterdir()) == before


def test_beside_mlflow_skinny_the_missing_part_of_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.stores.folder.find_spec", lambda name: None)
    with pytest.raises(StoreError, match="wants the package alembic, which mlflow-skinny does not bring: install it"):
        use_store(str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("place", "address", "before"),
    [
        ("http://a/b", "http://a/b", ("", "")),
        ("databricks-uc#models=main.sports.", "databricks-uc", ("", "main.sports.")),
        ("http://a#experiments=/Users/a b@c.d/", "http://a", ("/Users/a b@c.d/", "")),
        ("arn:aws:x#experiments=ours-&models=ours_", "arn:aws:x", ("ours-", "ours_")),
    ],
)
def test_what_names_begin_with_follows_the_address(place, address, before):
    assert is_address(place)
    assert names_before(place) == (address, dict(zip(("experiments", "models"), before, strict=True)))


@pytest.mark.parametrize("said", ["models", "models=a'b", "model=a.", "models=a.&experiments=/b/", "x", "models=a b"])
def test_anything_else_after_the_address_is_refused(said):
    with pytest.raises(ValueError, match=r"only experiments=\.\.\. and, after an &, models=\.\.\. may follow the #"):
        use_store(f"http://127.0.0.1:1#{said}")


def test_unity_catalog_has_the_models_and_the_workspace_has_the_runs(monkeypatch):
    """And of the names nothing is left where a later store wants none."""
    monkeypatch.setattr("helpers.stores.store.ask_server", lambda: None)
    given = "databricks-uc://profile#experiments=/Users/ann/&models=main.sports."
    with opened(given):
        assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == ("databricks://profile", given.split("#")[0])
        assert os.environ["MLFLOW_TRACKING_URI"] == "databricks://profile"
        assert (experiment_names()[0], product_name()) == (
            "/Users/ann/march-madness-linear",
            "main.sports.march-madness",
        )
        assert store_in_use() == given
    with opened("http://127.0.0.1:1"):
        assert experiment_names() == model_names() == EXPERIMENTS[:-1]  # and that of the promotions
        assert mlflow.get_registry_uri() == "http://127.0.0.1:1"


ADDRESSES = ["http://a", "https://a/b", "sqlite:///a.db", "databricks", "databricks-uc", "databricks://profile"]
ADDRESSES += [
    "postgresql+psycopg://me@host/db",
    "arn:aws:sagemaker:eu:1:mlflow-tracking-server/x",
    "uc:x",
    "sds://x/v1",
]
FOLDERS = ["../store", "a folder/with a space", "databricks-test", "it's", "sqlite", "C:\\store", "ä"]


def test_one_rule_tells_addresses_from_folders():
    assert [is_address(text) for text in ADDRESSES] == [True] * len(ADDRESSES)
    assert [is_address(text) for text in FOLDERS] == [False] * len(FOLDERS)


def test_the_artifacts_of_a_database_by_its_address_lie_beside_it(tmp_path, monkeypatch):
    """MLflow would put them into the folder that a notebook runs in."""
    monkeypatch.chdir(tmp_path)
    use_store(f" sqlite:///{tmp_path / 'some' / 'where.db'}\n")
    assert run_sweep(trials()[:1], SPLIT)["outcome"].tolist() == ["trained"]
    whole(f"sqlite:///{tmp_path / 'some' / 'where.db'}", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"some"}
    assert {path.name for path in (tmp_path / "some").iterdir()} >= {"where.db", "artifacts"}


def test_a_database_that_was_filled_with_artifacts_elsewhere_stays_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'old.db'}"
    client = mlflow.MlflowClient(uri)
    for name in CANDIDATES:
        client.create_experiment(name, (tmp_path / "mlruns" / name).as_uri())
    use_store(uri)
    assert run_sweep(trials()[:1], SPLIT)["outcome"].tolist() == ["trained"]
    whole(uri, 1)
