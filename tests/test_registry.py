"""A version is what was logged, once, and loads only if its files are unharmed; on SQLite in a temporary folder."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers import candidates, claims, records, registry
from helpers.features import mirror
from helpers.models import keras
from helpers.stores.folder import mend_addresses
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import PRODUCT
from tests.support.names import CANDIDATES


def test_a_logged_model_carries_its_score_example_and_pinned_requirements(version):
    model = mlflow.get_logged_model(version.source.removeprefix("models:/"))
    assert [metric.key for metric in model.metrics] == ["val_brier"]
    info = mlflow.models.get_model_info(version.source)
    assert info.saved_input_example_info is not None
    requirements = mlflow.pyfunc.get_model_dependencies(version.source)
    lines = Path(requirements).read_text().split()
    assert [line.partition("==")[0] for line in lines] == ["mlflow", "tensorflow", "keras", "numpy", "pandas"]


def test_the_signature_names_the_columns(version, split, columns):
    inputs = mlflow.models.get_model_info(version.source).signature.inputs
    assert inputs.input_names() == columns
    assert {str(kind) for kind in inputs.input_types()} == {"DataType.double"}


# What Microsoft's pages on PREDICT and on model endpoints want of a model.
WANTED_BY_FABRIC = {
    "a flavour of both lists, Keras in TensorFlow's": lambda info: info.flavors["tensorflow"]["model_type"] == "keras",
    "a signature, with inputs and outputs": lambda info: info.signature.inputs and info.signature.outputs,
    "inputs that are no tensors": lambda info: not info.signature.inputs.is_tensor_spec(),
    "outputs that are no tensors": lambda info: not info.signature.outputs.is_tensor_spec(),
    "columns that PREDICT can match by their names": lambda info: info.signature.inputs.has_input_names(),
    "no package of a private index": lambda info: packages_of(info.model_uri) == PUBLIC,
}
PUBLIC = {"mlflow", "tensorflow", "keras", "numpy", "pandas"}


def packages_of(model_uri: str) -> set[str]:
    lines = Path(mlflow.pyfunc.get_model_dependencies(model_uri)).read_text().split()
    return {line.partition("==")[0] for line in lines}


@pytest.mark.parametrize("condition", WANTED_BY_FABRIC)
def test_a_model_is_what_fabric_wants_for_predict_and_for_endpoints(version, condition):
    info = mlflow.models.get_model_info(f"models:/{version.name}/{version.version}")  # by number, as PREDICT asks
    assert WANTED_BY_FABRIC[condition](info)


def test_a_loaded_model_finds_columns_by_name_and_refuses_what_lacks_one(version, split, columns):
    games = split.validation[columns]
    kept = records.load_predictions(version.run_id)["Prediction"]
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    assert np.allclose(model.predict(games)[0], kept, atol=1e-6)
    assert np.allclose(model.predict(games[columns[::-1]])[0], kept, atol=1e-6)
    assert np.abs(model.predict(games)[0] + model.predict(mirror(games))[0] - 1).max() < 1e-6
    with pytest.raises(mlflow.MlflowException, match=f"missing inputs .*{columns[0]}"):
        model.predict(games.drop(columns=columns[0]))
    with pytest.raises(mlflow.MlflowException, match=columns[0]):
        model.predict(games.astype({columns[0]: object}).assign(**{columns[0]: "twelve"}))


def test_a_model_that_answers_otherwise_when_loaded_back_is_not_registered(store, trial, split, monkeypatch):
    class Otherwise(keras.KerasModel):
        def _answer(self, rows):
            return super()._answer(rows) + 1e-3

    load = registry.load_folder
    monkeypatch.setattr(registry, "load_folder", lambda folder: Otherwise(**vars(load(folder))))
    with pytest.raises(RuntimeError, match=r"loaded back answers 0\.001 apart"):
        run_trial(trial, split)
    assert mlflow.search_model_versions() == []
    (run,) = mlflow.search_runs(experiment_names=CANDIDATES, output_format="list")
    assert run.info.status == "FAILED"
    assert "loaded back answers 0.001 apart" in run.data.tags["reason"]


def test_a_logged_model_is_the_one_that_mlflow_itself_would_log(version, trial, split, columns):
    """log_folder is made of MLflow's steps; should log_model ever do more, this says so."""
    fitted = registry.load(version)
    games = split.validation[columns]
    with mlflow.start_run(run_id=version.run_id):
        theirs = mlflow.tensorflow.log_model(
            fitted.model,
            name="theirs",
            signature=mlflow.models.infer_signature(games.to_numpy("float32"), fitted.predict(games)[:, None]),
            input_example=games.head(3),
            pip_requirements=registry.requirements(),
        )
    folders = [Path(mlflow.artifacts.download_artifacts(uri)) for uri in (version.source, theirs.model_uri)]
    ours, expected = ({p.relative_to(folder).as_posix() for p in folder.rglob("*")} for folder in folders)
    code = {path for path in ours if path.startswith("code")}  # of the pyfunc
    assert len(code) == 2
    assert ours - code == expected
    labels = [yaml.safe_load((folder / "MLmodel").read_text()) for folder in folders]
    changing = ("artifact_path", "model_id", "model_uuid", "utc_time_created", "model_size_bytes", "signature")
    ours, expected = ({k: v for k, v in label.items() if k not in changing} for label in labels)
    asked = ours["flavors"]["python_function"]
    assert f"{asked['code']}/{asked['loader_module']}.py" in code
    asked.update(loader_module="mlflow.tensorflow", code=None)
    expected["flavors"]["python_function"].setdefault("code", None)
    assert ours == expected
    logged = [mlflow.get_logged_model(uri.removeprefix("models:/")) for uri in (version.source, theirs.model_uri)]
    assert logged[0].status == logged[1].status == "READY"
    assert logged[0].params == logged[1].params
    assert logged[0].source_run_id == logged[1].source_run_id
    outputs = {output.model_id for output in mlflow.get_run(version.run_id).outputs.model_outputs}
    assert outputs == {model.model_id for model in logged}


def test_models_in_one_process_are_asked_by_the_code_that_each_brought(store, split, trial, tmp_path, monkeypatch):
    regressions = [replace(trial, architecture="linear", parameters={"C": C}) for C in (0.1, 0.2)]
    run_trial(regressions[0], split)
    code = Path(registry.game_pyfunc.__file__).read_text()
    edited = tmp_path / "game_pyfunc.py"
    edited.write_text(code.replace("pd.DataFrame(np.concatenate(", "2 + pd.DataFrame(np.concatenate("))
    monkeypatch.setattr(registry.game_pyfunc, "__file__", str(edited))
    run_trial(regressions[1], split)
    models = [mlflow.pyfunc.load_model(f"models:/{regressions[0].model}/{number}") for number in (1, 2)]
    games = split.validation[models[0].metadata.get_input_schema().input_names()]
    assert [bool((model.predict(games)[0] > 1).all()) for model in models] == [False, True]


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
    kept = records.load_predictions(version.run_id)["Prediction"]
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
    network = keras.start_keras().saving.load_model(folder / "data" / "model.keras")
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


def test_models_load_with_pickles_forbidden_and_code_in_a_network_refused(store, split, columns, tmp_path):
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    library = keras.start_keras()
    inputs = library.Input((len(columns),))
    network = library.Model(inputs, library.layers.Lambda(lambda x: x[:, :1] * 0.1)(inputs))
    code = keras.KerasModel(network, columns)
    registry.save_model(code, tmp_path / "model", split.validation)
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(CANDIDATES[0]).experiment_id) as run:
        model_uri = registry.log_folder(run.info.run_id, tmp_path / "model")
    with pytest.raises(Exception, match="safe_mode"):
        registry.check_reloaded(model_uri, code, split.validation)


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
        claims.living_runs(trial.model, name)
    with pytest.raises(ValueError, match="There is no architecture"):
        run_trial(replace(trial, architecture=name), None)


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
