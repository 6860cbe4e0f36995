"""Versions of models: log one, check it, register it once, find it, and load it if its files are unharmed."""

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature as parameters_of
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model, infer_signature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from helpers import game_pyfunc
from helpers.models.fitted import FittedModel
from helpers.stores.hosted import Client, either, if_there, whole
from helpers.stores.server import needing
from helpers.trials import Trial, make_trial, plain, product_name

# What a model of each of MLflow's flavours is here: a module of helpers.models, and its class.
CLASSES = {
    "tensorflow": ("keras", "KerasModel"),
    "sklearn": ("sklearn", "LinearModel"),
    "pytorch": ("torch", "TorchModel"),
}
UPLOADS = 4  # files of a model at a time
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where the package to install has another name than the module


def save_model(fitted: FittedModel, folder: Path, games: pd.DataFrame) -> None:
    """Save a model into a new folder, with a signature that names its columns.

    games holds the rows it was tried on, one row per game. No pickle is kept, whatever the library. Raises RuntimeError
    where this MLflow can keep such a model as a pickle only.
    """
    save = _save_linear if fitted.flavor == "sklearn" else _save_network
    save(fitted, folder, games[fitted.columns], fitted.predict(games))


def keeps_torch() -> bool:
    """Whether PyTorch is installed here, and an MLflow that can keep its models without a pickle."""
    return bool(find_spec("torch")) and "serialization_format" in parameters_of(mlflow.pytorch.save_model).parameters


def _save_network(fitted: FittedModel, folder: Path, tried: pd.DataFrame, answers: np.ndarray) -> None:
    """Save a network into a folder by MLflow's flavour for its library.

    The requirements are this environment's versions; MLflow would otherwise start a second Python to find them out,
    10 s a model. The flavour's log_model would besides load the model and try the example, which takes longer than the
    rest, and check_reloaded does it better.
    """
    rows, flavor = np.array(tried, "float32"), import_module(f"mlflow.{fitted.flavor}")
    is_torch = fitted.flavor == "pytorch"
    if is_torch and "serialization_format" not in parameters_of(flavor.save_model).parameters:
        raise RuntimeError(
            f"MLflow {mlflow.__version__} keeps PyTorch models as pickles only; a newer one does without."
        )
    flavor.save_model(
        fitted.model,
        folder,
        signature=infer_signature(rows, answers[:, None]),
        input_example=rows[:3] if is_torch else tried.head(3),
        pip_requirements=requirements(fitted.packages),
        **({"serialization_format": "pt2"} if is_torch else {}),
    )
    # These flavours take tensor signatures alone, which would score shuffled columns without a word, and which
    # Microsoft Fabric's endpoints refuse, be it for what comes out.
    mlflow.models.set_signature(str(folder), infer_signature(tried, pd.Series(answers)))
    refuse_what_is_no_number(folder)


def refuse_what_is_no_number(folder: Path) -> None:
    """Let a saved network's pyfunc be game_pyfunc: those of MLflow's flavours answer a missing value, and are slow."""
    code, model = _shipped(folder / "code"), Model.load(str(folder))
    model.flavors["python_function"].update(loader_module=code.stem, code=code.parent.name)
    model.save(str(folder / MLMODEL_FILE_NAME))


def _shipped(place: Path) -> Path:
    """A copy of game_pyfunc in a folder, named by its contents: two models in one process may bring different ones."""
    code = Path(game_pyfunc.__file__).read_bytes()
    place.mkdir()
    copy = place / f"game_pyfunc_{hashlib.sha256(code).hexdigest()[:8]}.py"
    copy.write_bytes(code)
    return copy


def _save_linear(fitted: FittedModel, folder: Path, tried: pd.DataFrame, answers: np.ndarray) -> None:
    """Save a logistic regression into a folder, as a file of skops, which holds no code.

    mlflow.sklearn's own pyfunc answers with two columns, and newer MLflows load it only where pickles are allowed,
    because the model itself would say which types to trust; game_pyfunc trusts none but the library's.
    """
    import sklearn
    import skops.io

    data, code = folder.with_name("data"), _shipped(folder.with_name("code"))
    data.mkdir()
    skops.io.dump(fitted.model, data / game_pyfunc.LINEAR)
    mlflow.pyfunc.save_model(
        folder,
        loader_module=code.stem,
        code_paths=[str(code)],
        data_path=str(data),
        signature=infer_signature(tried, pd.Series(answers)),
        input_example=tried.head(3),
        pip_requirements=requirements(fitted.packages),
    )
    model = Model.load(str(folder))
    kept = {"pickled_model": f"data/data/{game_pyfunc.LINEAR}", "serialization_format": "skops", "code": "code"}
    model.add_flavor("sklearn", sklearn_version=sklearn.__version__, **kept)
    model.save(str(folder / MLMODEL_FILE_NAME))


def log_folder(run_id: str, folder: Path) -> str:
    """Log a model that was saved into a folder to a run, and give back its URI.

    It becomes a logged model where this MLflow and the store know such, which came with MLflow 3, and otherwise a
    folder among the run's artifacts.
    """
    if not hasattr(mlflow, "initialize_logged_model"):
        return _log_as_artifacts(run_id, folder)
    return either("logged models", lambda: _log_as_model(run_id, folder), lambda: _log_as_artifacts(run_id, folder))


def _log_as_model(run_id: str, folder: Path) -> str:
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    model = mlflow.initialize_logged_model(
        "model", source_run_id=run_id, params=run.data.params, experiment_id=run.info.experiment_id
    )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    label(folder, run_id=run_id, model_id=model.model_id, artifact_path=model.artifact_location)
    if model.artifact_location.startswith("mlflow-artifacts:"):
        _upload_at_once(folder, model.artifact_location)
    else:
        client.log_model_artifacts(model.model_id, str(folder))
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY).model_uri


def _upload_at_once(folder: Path, place: str) -> None:
    """Send a folder's files to a server several at a time; MLflow, which does so to S3, sends a server one by one."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    parents = [None if path.parent == folder else path.parent.relative_to(folder).as_posix() for path in files]
    with ThreadPoolExecutor(UPLOADS) as pool:
        list(pool.map(get_artifact_repository(place).log_artifact, map(str, files), parents))


def _log_as_artifacts(run_id: str, folder: Path) -> str:
    label(folder, run_id=run_id, artifact_path="model")
    mlflow.MlflowClient().log_artifacts(run_id, str(folder), "model")
    return f"runs:/{run_id}/model"


def label(folder: Path, **where: str) -> None:
    """Write into a saved model's own file where it is being logged."""
    model = Model.load(str(folder))
    for name, value in where.items():
        setattr(model, name, value)
    model.save(str(folder / MLMODEL_FILE_NAME))


@cache
def requirements(packages: tuple[str, ...] = ("tensorflow", "keras")) -> list[str]:
    """The packages that a model needs, by default a Keras network, each pinned to the version in use here."""
    # The modules' own versions: a package may have another name, as tensorflow-cpu has; what follows a + is a build.
    versions = {
        name: import_module(name).__version__.partition("+")[0] for name in ("mlflow", *packages, "numpy", "pandas")
    }
    return [f"{DISTRIBUTIONS.get(name, name)}=={version}" for name, version in versions.items()]


def check_reloaded(model_uri: str, fitted: FittedModel, games: pd.DataFrame) -> str:
    """Load a logged model from the store, compare its answers with those before it was logged, give back its digest.

    Raises RuntimeError when they differ by more than rounding, or are all the same; do not register such a model.
    """
    answers = fitted.predict(games)
    with tempfile.TemporaryDirectory() as copy:
        folder = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=copy))
        loaded = load_folder(folder)
        difference = np.abs(loaded.predict(games) - answers).max()
        if not difference <= loaded.tolerance(games):
            raise RuntimeError(f"{model_uri} loaded back answers {difference:.2g} apart from the model.")
        if np.ptp(answers) == 0:
            raise RuntimeError(f"The model answers each of {len(answers)} games with {answers[0]:.3g}.")
        return digest(folder)


def digest(folder: Path) -> str:
    """The SHA-256 of all files in a model's folder, names and contents, but the one that MLflow adds on the way."""
    total = hashlib.sha256()
    added = folder / "registered_model_meta"
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != added):
        for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def version_tags(trial: str, digest: str, candidate: dict[str, object]) -> dict[str, str]:
    """What a version says of itself: its trial's key, its files' digest, and in one tag what it is made of and scores.

    One tag, in JSON, because every further one makes reading 10,000 versions 0.6 s slower. It ends with a seal over
    all three, by which a tag that somebody edited is known without asking for the run.
    """
    sealed = {**candidate, "seal": _seal(trial, digest, candidate)}
    return {"trial": trial, "digest": digest, "candidate": json.dumps(sealed)}


def _seal(trial: str, digest: str, candidate: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps([trial, digest, candidate], sort_keys=True).encode()).hexdigest()[:16]


def made_of(version: ModelVersion) -> dict[str, object]:
    """What version_tags keeps of a candidate, or nothing where that is not there or cannot be read."""
    try:
        return dict(json.loads(version.tags["candidate"]))
    except (KeyError, TypeError, ValueError):
        return {}


def trial_of(version: ModelVersion) -> Trial:
    """The trial that a version was registered for."""
    return make_trial({name: value for name, value in made_of(version).items() if name not in ("val_brier", "seal")})


def objection(version: ModelVersion, state: str, run: Run | None = None) -> str:
    """Why a version does not count, or "": the one rule for all who ask.

    state is what state_of says of its run. The run itself is only wanted where the version has no seal, as those of
    older stores have not, and is asked for if it is not given.
    """
    if version.status != "READY":
        return "it was never ready"
    return state or ("" if _is_untouched(version, run) else "its tags were edited")


def state_of(run: Run | None) -> str:
    """Why the versions of a run do not count, or ""; None stands for a run that the store does not have."""
    if run is None:
        return "its run is gone"
    if run.info.lifecycle_stage != "active":
        return "its run was deleted"
    return "" if run.info.status == "FINISHED" else f"its run is {run.info.status}"


def _is_untouched(version: ModelVersion, run: Run | None) -> bool:
    """Whether a version's tags are still those that were registered: by their seal, or else by what its run says."""
    candidate, trial = made_of(version), version.tags.get("trial")
    if "seal" in candidate:
        return candidate.pop("seal") == _seal(trial, version.tags.get("digest"), candidate)
    run = run or run_of(version)
    score = candidate.pop("val_brier", None)
    said = {name: str(value) for name, value in candidate.items()}
    return (
        run is not None
        and score == run.data.metrics.get("val_brier")
        and said.items() <= run.data.params.items()
        and trial == run.data.tags.get("trial", trial)
    )


def run_of(version: ModelVersion) -> Run | None:
    """The run that a version came from, or None where the store has none."""
    return find_run(version.run_id) if version.run_id else None


def find_run(run_id: str) -> Run | None:
    """The run with this id, deleted or not, or None where the store has none."""
    with needing("READ on the experiment of its run"):
        return if_there(lambda: mlflow.get_run(run_id))


def version_of(name: str, number: str) -> ModelVersion | None:
    """The version of a registered model with this number, or None where the store has none."""
    return if_there(lambda: mlflow.MlflowClient().get_model_version(name, number))


def logged_models(run: Run) -> dict[str, str]:
    """The logged models that a run made, by their ids, with the places of their files; none where there are no such."""
    client, made_by = mlflow.MlflowClient(), f"source_run_id = '{run.info.run_id}'"
    if not hasattr(client, "search_logged_models"):
        return {}
    found = either("logged models", lambda: client.search_logged_models([run.info.experiment_id], made_by), list)
    return {model.model_id: model.artifact_location for model in found}


def register(model_uri: str, name: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model with version_tags, once: where its trial has a version already, that one counts.

    Only versions of this very model are ever taken back: a second one, should the answer to the first request have
    been lost, and its only one, should another process have registered the same trial before.
    """
    with needing(f"EDIT on the registered model {name}"):
        source = mlflow.register_model(model_uri, plain(name), tags=tags).source
    versions = _versions(name, tags["trial"])
    own = [version for version in versions if version.source == source]
    first = next(version for version in versions if version in own or counts(version))
    for version in own:
        if version is not first:
            mlflow.MlflowClient().delete_model_version(name, version.version)
    return first


def counts(version: ModelVersion) -> bool:
    """Whether nothing speaks against a version: it is ready, its run has finished and is there, its tags untouched."""
    run = run_of(version)
    return not objection(version, state_of(run), run)


def find_version(name: str, trial: str) -> ModelVersion | None:
    """The first version that counts of those that a trial with this key made of a registered model, or None."""
    return next(filter(counts, _versions(name, trial)), None)


def find_copy(version: ModelVersion, name: str) -> ModelVersion | None:
    """The first copy of a version in another registered model that still has its run and its tags, or None."""
    copies = _versions(name, version.tags["trial"])
    return next((copy for copy in copies if copy.run_id == version.run_id and _marks(copy) == _marks(version)), None)


def _marks(version: ModelVersion) -> list[str | None]:
    return [version.tags.get(name) for name in ("trial", "digest", "candidate")] + [version.status]


def _versions(name: str, trial: str) -> list[ModelVersion]:
    of_name, of_trial = f"name = '{plain(name)}'", f"tags.trial = '{plain(trial)}'"
    return either(
        "filters by tags",
        lambda: search_versions(f"{of_name} and {of_trial}"),
        lambda: [version for version in search_versions(of_name) if version.tags.get("trial") == trial],
    )


def search_versions(query: str) -> list[ModelVersion]:
    """The versions that a query finds, the lowest number first, each with its tags: some services keep those back."""
    found = sorted(mlflow.search_model_versions(filter_string=query), key=lambda version: int(version.version))
    return [whole(version) for version in found]


def load(version: ModelVersion) -> FittedModel:
    """Load a version, unless its files are other ones than when it was registered. Raises RuntimeError as fetch."""
    with tempfile.TemporaryDirectory() as copy:
        return load_folder(fetch(version, copy))


def fetch(version: ModelVersion, place: str) -> Path:
    """Copy a version's files to a place, and give back their folder.

    Raises RuntimeError that names the version, where they cannot be read or are not those that were registered; nothing
    of them has run by then.
    """
    name, uri = f"{version.name} version {version.version}", f"models:/{version.name}/{version.version}"
    try:
        with needing("READ on the experiment that it was trained in"):
            folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=place))
    except (mlflow.MlflowException, OSError) as error:
        raise RuntimeError(f"The files of {name} cannot be read: {error}") from error
    if digest(folder) != version.tags.get("digest"):
        raise RuntimeError(
            f"The files of {name} are not those that were registered; nothing of them was loaded. Delete that "
            "version, and the candidate that it was copied from, and run the notebooks from 02 on again."
        )
    return folder


def load_folder(folder: Path) -> FittedModel:
    """The model in a logged model's folder, with the columns that its signature names."""
    model = Model.load(str(folder))
    flavor = next(flavor for flavor in CLASSES if flavor in model.flavors)
    library, name = CLASSES[flavor]
    module = import_module(f"helpers.models.{library}")
    with module.steady():
        if flavor == "sklearn":
            native = game_pyfunc.load_linear(folder / model.flavors["sklearn"]["pickled_model"])
        else:
            native = import_module(f"mlflow.{flavor}").load_model(str(folder))
    return getattr(module, name)(native, model.get_input_schema().input_names())


def champion(data: str) -> ModelVersion:
    """The version that the alias champion points to.

    Raises LookupError when there is none, when it does not count any more, or when it was chosen on other data than
    those with this fingerprint.
    """
    try:
        version = Client().get_model_version_by_alias(product_name(), "champion")
    except mlflow.MlflowException as error:
        raise LookupError("This STORE has no champion: run 03_select_the_best first.") from error
    run = run_of(version)
    reason = objection(version, state_of(run), run) or (
        "" if "digest" in version.tags else "it was not registered by a trial"
    )
    if reason:
        raise LookupError(
            f"The champion of this STORE, {version.name} version {version.version}, does not count ({reason}): run "
            "02_sweep_several_models and 03_select_the_best again."
        )
    if run.data.params.get("data") != data:
        raise LookupError(
            "The champion of this STORE was chosen on other games: run 03_select_the_best on these first."
        )
    return version


def record_test_score(version: ModelVersion, score: float) -> float:
    """Keep the champion's test_brier with its run and its version, the first time only, and give back what is kept.

    Raises ValueError when another score was kept before: the test seasons are there to be scored once.
    """
    client = mlflow.MlflowClient()
    kept = client.get_run(version.run_id).data.metrics.get("test_brier")
    if kept is None:
        mlflow.log_metric("test_brier", score, run_id=version.run_id)
        client.set_model_version_tag(version.name, version.version, "test_brier", f"{score:.6f}")
        return score
    if abs(kept - score) > 1e-5:  # the rounding of another processor moves it by a hundredth of that
        raise ValueError(f"test_brier of {version.name} was {kept:.6f} before and is {score:.6f} now; score it once.")
    return kept
