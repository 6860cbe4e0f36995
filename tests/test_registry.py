"""Stores, versions and trials, on SQLite in a temporary folder."""

import os
import pickle
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.entities.model_registry import ModelVersion

from helpers import candidates, networks, registry, runs
from helpers.features import MATCHUP, OUTCOME, fingerprint, mirror
from helpers.scoring import brier_score
from helpers.store import CANDIDATES, PRODUCT, mend_addresses, use_store
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
    kept = runs.load_predictions(version.run_id)
    assert list(kept) == [*MATCHUP, OUTCOME, "Prediction"]
    assert len(kept) == len(split.validation)
    assert run.data.metrics["val_brier"] == pytest.approx(brier_score(kept[OUTCOME], kept["Prediction"]))
    assert run.inputs.dataset_inputs[0].dataset.digest == trial.data
    assert len(runs.load_losses(version.run_id)) == trial.epochs
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(version.run_id)}
    assert files == {"loss_curves.svg", runs.PREDICTIONS}


def test_a_logged_model_carries_its_score_example_and_pinned_requirements(version):
    model = mlflow.get_logged_model(version.source.removeprefix("models:/"))
    assert [metric.key for metric in model.metrics] == ["val_brier"]
    info = mlflow.models.get_model_info(version.source)
    assert info.saved_input_example_info is not None
    requirements = mlflow.pyfunc.get_model_dependencies(version.source)
    lines = Path(requirements).read_text().split()
    assert len(lines) == len(registry.PACKAGES)
    assert all("==" in line for line in lines)


def test_the_signature_names_the_columns(version, split, columns):
    inputs = mlflow.models.get_model_info(version.source).signature.inputs
    assert inputs.input_names() == columns
    assert {str(kind) for kind in inputs.input_types()} == {"DataType.double"}


def test_a_loaded_model_finds_columns_by_name_and_refuses_what_lacks_one(version, split, columns):
    games = split.validation[columns]
    kept = runs.load_predictions(version.run_id)["Prediction"]
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    assert np.allclose(model.predict(games)[0], kept, atol=1e-6)
    assert np.allclose(model.predict(games[columns[::-1]])[0], kept, atol=1e-6)
    assert np.abs(model.predict(games)[0] + model.predict(mirror(games))[0] - 1).max() < 1e-6
    with pytest.raises(mlflow.MlflowException, match=f"missing inputs .*{columns[0]}"):
        model.predict(games.drop(columns=columns[0]))
    with pytest.raises(mlflow.MlflowException, match=columns[0]):
        model.predict(games.astype({columns[0]: object}).assign(**{columns[0]: "twelve"}))


def test_a_model_that_answers_otherwise_when_loaded_back_is_not_registered(store, trial, split, monkeypatch):
    monkeypatch.setattr(registry, "predict", lambda network, games: networks.predict(network, games) + 1e-3)
    with pytest.raises(RuntimeError, match=r"loaded back answers 0\.001 apart"):
        run_trial(trial, split)
    assert mlflow.search_model_versions() == []
    (run,) = mlflow.search_runs(experiment_names=CANDIDATES, output_format="list")
    assert run.info.status == "FAILED"
    assert "loaded back answers 0.001 apart" in run.data.tags["reason"]


def test_a_logged_model_is_the_one_that_mlflow_itself_would_log(version, trial, split, columns):
    """log_network is made of MLflow's steps; should log_model ever do more, this says so."""
    network = registry.load(version).network
    games = split.validation[columns]
    with mlflow.start_run(run_id=version.run_id):
        theirs = mlflow.tensorflow.log_model(
            network,
            name="theirs",
            signature=mlflow.models.infer_signature(
                games.to_numpy("float32"), networks.predict(network, games)[:, None]
            ),
            input_example=games.head(3),
            pip_requirements=registry.requirements(),
        )
    folders = [Path(mlflow.artifacts.download_artifacts(uri)) for uri in (version.source, theirs.model_uri)]
    ours, expected = ({p.relative_to(folder).as_posix() for p in folder.rglob("*")} for folder in folders)
    assert ours == expected
    labels = [yaml.safe_load((folder / "MLmodel").read_text()) for folder in folders]
    changing = ("artifact_path", "model_id", "model_uuid", "utc_time_created", "model_size_bytes", "signature")
    ours, expected = ({k: v for k, v in label.items() if k not in changing} for label in labels)
    assert ours == expected
    logged = [mlflow.get_logged_model(uri.removeprefix("models:/")) for uri in (version.source, theirs.model_uri)]
    assert logged[0].status == logged[1].status == "READY"
    assert logged[0].params == logged[1].params
    assert logged[0].source_run_id == logged[1].source_run_id
    outputs = {output.model_id for output in mlflow.get_run(version.run_id).outputs.model_outputs}
    assert outputs == {model.model_id for model in logged}


# Loading what was registered


@pytest.fixture
def own(tmp_path, used, trial):
    """The finished trial's version in a copy of its store that may be harmed, and the folder of its model."""
    shutil.copytree(used, tmp_path / "copy")
    mend_addresses(tmp_path / "copy")
    use_store(str(tmp_path / "copy"))
    version = registry.find_version(trial.model, trial.key)
    return version, Path(mlflow.get_logged_model(version.source.removeprefix("models:/")).artifact_location[7:])


def test_a_version_that_is_unharmed_loads_and_answers_as_it_did(own, split):
    version, _ = own
    loaded = registry.load(version)
    kept = runs.load_predictions(version.run_id)["Prediction"]
    assert np.allclose(loaded.predict(split.validation), kept, atol=1e-6)
    assert np.allclose(loaded.predict(split.validation[loaded.columns[::-1]]), kept, atol=1e-6)
    assert loaded.predict(split.validation.head(0)).tolist() == []
    assert loaded.predict(split.validation.head(1)).shape == (1,)
    many = pd.concat([split.validation] * (100_000 // len(split.validation) + 1)).head(100_000)
    assert np.allclose(loaded.predict(many)[: len(kept)], kept, atol=1e-6)
    with pytest.raises(ValueError, match=rf"{loaded.columns[0]} \(1 of {len(split.validation)} rows\)"):
        loaded.predict(split.validation.assign(**{loaded.columns[0]: [np.nan, *[1.0] * (len(split.validation) - 1)]}))


RAN = "import pathlib; pathlib.Path('RAN').touch()"


def cut(folder: Path) -> None:
    path = folder / "data" / "model.keras"
    path.write_bytes(path.read_bytes()[:2000])


def empty(folder: Path) -> None:
    (folder / "data" / "model.keras").write_bytes(b"")


def change_a_byte(folder: Path) -> None:
    path = folder / "data" / "model.keras"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def swap(folder: Path) -> None:
    keras = networks.start_keras()
    network = keras.saving.load_model(folder / "data" / "model.keras")
    network.set_weights([weight * 1.5 for weight in network.get_weights()])
    network.save(folder / "data" / "model.keras")


def plant_a_pickle(folder: Path) -> None:
    (folder / "data" / "custom_objects.cloudpickle").write_bytes(pickle.dumps(Run()))


class Run:
    def __reduce__(self):
        return exec, (RAN,)


def change_the_loader(folder: Path) -> None:
    (folder / "evil.py").write_text(f"{RAN}\ndef _load_pyfunc(path): ...")
    label = yaml.safe_load((folder / "MLmodel").read_text())
    label["flavors"]["python_function"] |= {"loader_module": "evil", "code": "."}
    (folder / "MLmodel").write_text(yaml.safe_dump(label))


def change_the_keras_module(folder: Path) -> None:
    (folder / "data" / "keras_module.txt").write_text("evil")


def remove_a_file(folder: Path) -> None:
    (folder / "requirements.txt").unlink()


def remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


HARM = [cut, empty, change_a_byte, swap, plant_a_pickle, change_the_loader, change_the_keras_module, remove_a_file]


@pytest.mark.parametrize("harm", [*HARM, remove_all], ids=lambda harm: harm.__name__)
def test_files_that_are_not_those_that_were_registered_are_refused_and_never_run(own, harm, tmp_path, monkeypatch):
    version, folder = own
    monkeypatch.chdir(tmp_path)
    harm(folder)
    with pytest.raises(RuntimeError, match=f"The files of {version.name} version {version.version} "):
        registry.load(version)
    assert not (tmp_path / "RAN").exists()


def test_a_version_without_a_digest_is_refused(own):
    version, _ = own
    mlflow.MlflowClient().delete_model_version_tag(version.name, version.version, "digest")
    with pytest.raises(RuntimeError, match=f"The files of {version.name} version {version.version} "):
        registry.load(mlflow.MlflowClient().get_model_version(version.name, version.version))


def test_models_load_with_pickles_forbidden_and_code_in_a_network_refused(store, split, columns):
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    keras = networks.start_keras()
    inputs = keras.Input((len(columns),))
    code = keras.Model(inputs, keras.layers.Lambda(lambda x: x[:, :1] * 0.1)(inputs))
    games = split.validation[columns]
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(CANDIDATES[0]).experiment_id) as run:
        model = registry.log_network(run.info.run_id, code, games, networks.predict(code, games))
    with pytest.raises(Exception, match="safe_mode"):
        registry.check_reloaded(model.model_uri, games, networks.predict(code, games))


# One version a trial


def test_a_second_version_of_a_trial_gives_way_to_the_first(own, trial):
    version, _ = own
    again = registry.register(version.source, trial.model, version.tags)
    assert again.version == version.version
    assert [v.version for v in mlflow.search_model_versions(filter_string=f"name = '{trial.model}'")] == [
        version.version
    ]


def test_a_version_that_another_call_made_of_the_same_trial_is_not_deleted(own, trial, split):
    """Only the version that this call has made gives way, whichever of the two counts."""
    version, folder = own
    client = mlflow.MlflowClient()
    by_hand = client.create_model_version(trial.model, folder.as_uri(), version.run_id, tags={"trial": trial.key})
    again = registry.register(version.source, trial.model, version.tags)
    assert again.version == version.version
    left = [v.version for v in mlflow.search_model_versions(filter_string=f"name = '{trial.model}'")]
    assert sorted(left) == [version.version, by_hand.version]


INJECTED = "x' AND name LIKE '%"
NAMES = ["O'Neil", 'a"b', "50%", "a b", "a/b", "a\nb", "Göteborg", INJECTED, "", "champion\n"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_could_break_a_filter_is_refused_with_the_rule(version, trial, name):
    refused = pytest.raises(ValueError, match="letters, digits and hyphens only")
    with refused:
        registry.find_version(name, trial.key)
    with refused:
        registry.find_version(trial.model, name)
    with refused:
        registry.register(version.source, name, version.tags)
    with refused:
        candidates.best_version(name)
    with refused:
        runs.living_runs(trial.model, name)
    if name:
        with refused:
            run_trial(replace(trial, architecture=name), None)


def test_a_trial_without_an_experiment_is_refused(version, trial):
    with pytest.raises(LookupError, match="no experiment 'march-madness-tiny'"):
        run_trial(replace(trial, architecture="tiny"), None)


# The champion


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
        runs.log_losses(run.info.run_id, curves)
    pd.testing.assert_frame_equal(runs.load_losses(run.info.run_id), curves, check_names=False)


def test_sweep_keeps_a_picture_of_the_losses(version):
    picture = mlflow.artifacts.load_text(f"runs:/{version.run_id}/loss_curves.svg")
    assert 'width="540pt" height="273.6pt"' in picture
    for text in ("Loss, epoch by epoch", "training", "validation", "kept: epoch "):
        assert text in picture
