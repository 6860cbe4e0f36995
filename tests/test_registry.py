"""Stores, versions and trials, on SQLite in a temporary folder."""

from dataclasses import asdict, replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import networks, registry
from helpers.features import MATCHUP, OUTCOME, fingerprint, mirror
from helpers.scoring import brier_score
from helpers.store import CANDIDATES, PRODUCT, use_store
from helpers.sweep import Trial, make_trials, run_trial


@pytest.fixture(scope="module")
def trial(split) -> Trial:
    return Trial("small", 0.01, 2, 3, "strong", fingerprint(split))


@pytest.fixture(scope="module")
def used(tmp_path_factory, trial, split) -> Path:
    """A store with one finished trial."""
    folder = tmp_path_factory.mktemp("ein Störe, used")
    use_store(str(folder))
    run_trial(trial, split)
    return folder


@pytest.fixture
def version(used, trial) -> ModelVersion:
    """The version of the finished trial, with its store in use."""
    use_store(str(used))
    return registry.find_version(trial.model, trial.key)


# The store


def test_everything_of_a_folder_store_lies_in_the_folder(used, version):
    artifacts = mlflow.get_run(version.run_id).info.artifact_uri
    assert artifacts.startswith((used / "artifacts" / version.name).as_uri())
    assert (used / "mlflow.db").is_file()


def test_a_relative_store_is_the_same_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.store.NOTEBOOKS", tmp_path / "notebooks")
    uris = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        use_store("../store")
        uris.append(mlflow.get_tracking_uri())
    assert set(uris) == {f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"}


def test_the_environment_wins_over_the_default_and_not_over_a_choice(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.store.NOTEBOOKS", tmp_path / "notebooks")
    wished = f"sqlite:///{tmp_path / 'wished.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", wished)
    use_store("../store")
    assert mlflow.get_tracking_uri() == wished
    use_store(str(tmp_path / "chosen"))
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'chosen' / 'mlflow.db'}"


def test_a_choice_does_not_pass_for_the_environments_wish(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.store.NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    use_store(str(tmp_path / "chosen"))
    use_store("../store")
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


def test_using_a_store_says_nothing_reports_nothing_and_twice_is_once(tmp_path, capfd):
    for _ in range(2):
        assert use_store(str(tmp_path / "store")) is None
    assert capfd.readouterr() == ("", "")
    assert mlflow.telemetry.get_telemetry_client() is None
    assert sorted(e.name for e in mlflow.search_experiments()) == sorted([*CANDIDATES, "Default"])


def test_a_store_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        use_store(str(tmp_path / "file" / "store"))


@pytest.mark.parametrize("name", ["50%", "a?b", "a#b", "a%20b"])
def test_a_folder_that_an_address_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="STORE: MLflow's addresses cannot hold the %"):
        use_store(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


# A trial and its version


def test_the_key_is_made_of_every_field_and_of_nothing_else(trial):
    assert trial.key == replace(trial).key
    changed = {"architecture": "large", "learning_rate": 0.02, "epochs": 3, "seed": 4, "features": "x", "data": "y"}
    keys = {replace(trial, **{field: value}).key for field, value in changed.items()}
    assert set(changed) == set(asdict(trial))
    assert len(keys | {trial.key}) == len(changed) + 1


def test_make_trials_is_the_grid_with_the_smallest_network_first():
    trials = make_trials([0.1, 0.2], epochs=1, seed=2, features="strong", data="d")
    assert [(t.architecture, t.learning_rate) for t in trials] == [
        (name, rate) for name in ("small", "medium", "large") for rate in (0.1, 0.2)
    ]


def test_a_trial_that_has_finished_is_not_trained_again(version, trial, split, monkeypatch):
    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(networks, "train", never)
    assert run_trial(trial, split).version == version.version
    with pytest.raises(AssertionError, match="trained again"):
        run_trial(replace(trial, learning_rate=0.02), split)


def test_a_run_holds_what_the_design_names(version, trial, split, columns):
    run = mlflow.get_run(version.run_id)
    assert run.data.params == {name: str(value) for name, value in asdict(trial).items()}
    kept = registry.load_predictions(version.run_id)
    assert list(kept) == [*MATCHUP, OUTCOME, "Prediction"]
    assert len(kept) == len(split.validation)
    assert run.data.metrics["val_brier"] == pytest.approx(brier_score(kept[OUTCOME], kept["Prediction"]))
    assert run.inputs.dataset_inputs[0].dataset.digest == trial.data
    assert len(registry.load_losses(version.run_id)) == trial.epochs
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(version.run_id)}
    assert files == {"loss_curves.png", registry.PREDICTIONS}


def test_a_logged_model_carries_its_score_example_and_pinned_requirements(version):
    model = mlflow.get_logged_model(version.source.removeprefix("models:/"))
    assert [metric.key for metric in model.metrics] == ["val_brier"]
    info = mlflow.models.get_model_info(version.source)
    assert info.saved_input_example_info is not None
    requirements = mlflow.pyfunc.get_model_dependencies(version.source)
    lines = Path(requirements).read_text().split()
    assert len(lines) == len(registry.REQUIREMENTS)
    assert all("==" in line for line in lines)


def test_the_signature_names_the_columns(version, split, columns):
    inputs = mlflow.models.get_model_info(version.source).signature.inputs
    assert inputs.input_names() == columns
    assert {str(kind) for kind in inputs.input_types()} == {"DataType.double"}


def test_a_loaded_model_finds_columns_by_name_and_refuses_what_lacks_one(version, split, columns):
    games = split.validation[columns]
    kept = registry.load_predictions(version.run_id)["Prediction"]
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    assert np.allclose(model.predict(games)[0], kept, atol=1e-6)
    assert np.allclose(model.predict(games[columns[::-1]])[0], kept, atol=1e-6)
    assert np.abs(model.predict(games)[0] + model.predict(mirror(games))[0] - 1).max() < 1e-6
    with pytest.raises(mlflow.MlflowException, match=f"missing inputs .*{columns[0]}"):
        model.predict(games.drop(columns=columns[0]))
    with pytest.raises(mlflow.MlflowException, match=columns[0]):
        model.predict(games.astype({columns[0]: object}).assign(**{columns[0]: "twelve"}))


def test_a_model_that_answers_otherwise_when_loaded_back_is_not_registered(store, trial, split, monkeypatch):
    honest = networks.predict
    monkeypatch.setattr(networks, "predict", lambda network, games: honest(network, games) + 1e-3)
    with pytest.raises(RuntimeError, match=r"loaded back answers 0\.001 apart"):
        run_trial(trial, split)
    assert mlflow.MlflowClient().search_model_versions() == []
    assert mlflow.search_runs(experiment_names=CANDIDATES)["status"].tolist() == ["FAILED"]


def test_a_model_that_answers_nan_is_not_registered(store, trial, split, monkeypatch):
    monkeypatch.setattr(networks, "predict", lambda network, games: np.full(len(games), np.nan))
    with pytest.raises((RuntimeError, ValueError)):
        run_trial(trial, split)
    assert mlflow.MlflowClient().search_model_versions() == []


# The selection


def candidate(architecture: str, score: float | None, data: str = "d", status: str = "FINISHED") -> tuple[str, int]:
    """A registered version with a score and no network behind it."""
    client, name = mlflow.MlflowClient(), f"{PRODUCT}-{architecture}"
    trial = Trial(architecture, np.random.default_rng().uniform(), 1, 1, "strong", data)
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(name).experiment_id) as run:
        mlflow.log_params(asdict(trial))
        mlflow.set_tag("trial", trial.key)
        if score is not None:
            mlflow.log_metric("val_brier", score)
    client.set_terminated(run.info.run_id, status)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, run.info.artifact_uri, run.info.run_id, tags={"trial": trial.key})
    return name, int(version.version)


def best(data: str = "d") -> tuple[str, int]:
    winner = registry.leaderboard(data).iloc[0]
    return winner["model"], winner["version"]


def test_the_lowest_score_wins(store):
    candidate("small", 0.2)
    winner = candidate("large", 0.1)
    candidate("medium", 0.3)
    assert best() == winner
    assert registry.leaderboard("d")["val_brier"].tolist() == [0.1, 0.2, 0.3]


def test_a_tie_goes_to_the_smaller_network_then_to_the_lower_version(store):
    candidate("large", 0.1)
    candidate("medium", 0.2)
    winner = candidate("medium", 0.1)
    candidate("medium", 0.1)
    assert best() == winner == ("march-madness-medium", 2)


def test_version_11_comes_after_version_9(store):
    versions = [candidate("small", 0.1) for _ in range(11)]
    assert [v for _, v in versions] == registry.leaderboard("d")["version"].tolist() == list(range(1, 12))


def test_scores_on_other_games_failed_runs_and_missing_scores_are_passed_over(store):
    candidate("small", 0.01, data="other")
    candidate("small", 0.02, status="FAILED")
    candidate("small", None)
    winner = candidate("small", 0.3)
    assert best() == winner
    assert len(registry.leaderboard("d")) == 1


def test_no_candidates_is_one_sentence(store):
    candidate("small", 0.01, data="other")
    with pytest.raises(LookupError, match="no candidates for these games: run the notebook before this one first"):
        registry.leaderboard("d")


def test_a_finished_run_without_a_version_is_no_candidate(store):
    candidate("small", 0.01, data="other")
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(CANDIDATES[0]).experiment_id):
        mlflow.log_params(asdict(Trial("small", 0.1, 1, 1, "strong", "d")))
        mlflow.log_metric("val_brier", 0.1)
    with pytest.raises(LookupError, match="no candidates for these games"):
        registry.leaderboard("d")


def test_no_champion_and_one_of_other_games_are_one_sentence_each(version, trial):
    with pytest.raises(LookupError, match="has no champion: run 03_select_the_best first"):
        registry.champion(trial.data)
    client = mlflow.MlflowClient()
    copy = client.copy_model_version(f"models:/{version.name}/{version.version}", PRODUCT)
    client.set_registered_model_alias(PRODUCT, "champion", copy.version)
    assert registry.champion(trial.data).version == copy.version
    assert registry.find_version(PRODUCT, trial.key).version == copy.version
    with pytest.raises(LookupError, match="was chosen on other games"):
        registry.champion("other")


def test_the_test_seasons_are_scored_once(version):
    assert registry.record_test_score(version, 0.171) == 0.171
    assert registry.record_test_score(version, 0.171 + 1e-9) == 0.171
    with pytest.raises(ValueError, match=r"test_brier .* was 0\.171000 before and is 0\.160000 now"):
        registry.record_test_score(version, 0.16)
    assert mlflow.get_run(version.run_id).data.metrics["test_brier"] == 0.171
    tags = mlflow.MlflowClient().get_model_version(version.name, version.version).tags
    assert tags["test_brier"] == "0.171000"


def test_loss_curves_come_back_as_they_were(store):
    curves = pd.DataFrame({"train": [0.3, 0.2], "validation": [0.25, 0.24]}, index=[1, 2])
    with mlflow.start_run() as run:
        registry.log_losses(curves)
    pd.testing.assert_frame_equal(registry.load_losses(run.info.run_id), curves, check_names=False)


def test_sweep_keeps_a_picture_of_the_losses(version):
    picture = mlflow.artifacts.load_image(f"runs:/{version.run_id}/loss_curves.png")
    assert picture.size == (750, 380)
