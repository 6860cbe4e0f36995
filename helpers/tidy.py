"""Tidying up: the versions that nothing needs any more, listed, and on request deleted with their files."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests import HTTPError

from helpers import promotion, registry
from helpers.stores.hosted import UNKNOWN, either, if_there
from helpers.trials import experiment_names, model_names, plain, product_name

BEGUN = "tidying_"  # and a version's number: a tag of its registered model, from before it goes until its files have
CHALLENGER = "The challenger: "  # how notebook 05 begins the description of one


def stale(data: str) -> pd.DataFrame:
    """The versions that may go: candidates, and copies in the product, that are older than the last sweep.

    That is, those made for other games than those with this fingerprint, and before the first candidate for these.
    What an alias points to stays, and so does what is or was champion, previous or challenger, a refit, what a version
    of the product came from, and what another trial started from. A candidate whose only copy may go may itself go when
    that is gone. What delete began and did not finish is listed first. One row per version: model, version, run_id,
    trial, why. Nothing is deleted.
    """
    models = [_registered(name) for name in _names()]
    versions = [version for name in _names() for version in registry.search_versions(f"name = '{name}'")]
    begun = {(model.name, number): run_id for model in models for number, run_id in _begun(model).items()}
    facts = _facts(models, versions)
    rows = [(*key, run_id, "", "its deletion was begun") for key, run_id in begun.items()]
    for version in _older(versions, data):
        if _key(version) not in begun and not _needed(version, facts):
            why = f"made for other games ({_data(version)})"
            rows.append((*_key(version), version.run_id, version.tags["trial"], why))
    return pd.DataFrame(rows, columns=["model", "version", "run_id", "trial", "why"])


def delete(rows: pd.DataFrame) -> pd.DataFrame:
    """Delete the versions that rows name by model and version, with their files, but for what must stay.

    Each is looked at again before it goes: what stale says must stay does, and the rest goes, whatever games it was
    made for. The version goes first, then its run, its logged model, and the files of both, unless another version has
    the same run. A call whose process dies is finished by the next one that names the version, as stale does. One row
    per version: model, version, outcome (deleted, kept, gone) and reason: why it was kept, or why its files were.
    """
    named = rows[["model", "version"]].itertuples(index=False, name=None)
    results = [(name, number, *_delete(name, int(number))) for name, number in named]
    return pd.DataFrame(results, columns=["model", "version", "outcome", "reason"])


def _names() -> list[str]:
    return [*model_names(), product_name()]


def _key(version: ModelVersion) -> tuple[str, int]:
    return version.name, int(version.version)


def _data(version: ModelVersion) -> str:
    return str(registry.made_of(version).get("data", ""))


def _older(versions: list[ModelVersion], data: str) -> list[ModelVersion]:
    """Those made for other games, and before the first candidate for these; none where there is no such candidate."""
    of_these = [v.creation_timestamp for v in versions if v.name != product_name() and _data(v) == data]
    sweep = min(of_these, default=0)
    older = [v for v in versions if v.creation_timestamp < sweep and _data(v) not in ("", data)]
    return [version for version in older if not registry.objection(version, "")]


@dataclass(frozen=True)
class _Facts:
    """What may speak against deleting a version: versions that are pointed to, copies, and the keys of trials."""

    pointed: set[tuple[str, int]]
    champions: set[tuple[str, int]]
    copied: set[str | None]
    starts: set[object]


def _facts(models: list[RegisteredModel], versions: list[ModelVersion]) -> _Facts:
    """Of these registered models, as far as these versions tell."""
    pointed = {(model.name, int(number)) for model in models for number in model.aliases.values()}
    # Where a service has no aliases, tags take their place, and one stays where an alias pointed before.
    marked = {_key(version) for version in versions if any(tag.startswith("alias_") for tag in version.tags)}
    products = [version for version in versions if version.name == product_name()]
    return _Facts(
        pointed=pointed | marked,
        champions={(product_name(), int(number)) for number in promotion.recorded()},
        copied={copy.run_id for copy in products} | {copy.tags.get("trial") for copy in products},
        starts={registry.made_of(version).get("start") for version in versions},
    )


def _needed(version: ModelVersion, facts: _Facts) -> str:
    """Why a version must stay, or ""."""
    trial = version.tags.get("trial")
    if _key(version) in facts.champions:
        return "it is or was champion"
    if _key(version) in facts.pointed:
        return "an alias points to it"
    if "refit_of" in version.tags:
        return "it is a refit, and its run may hold a forecast"
    if "gate" in version.tags or (version.description or "").startswith(CHALLENGER):
        return "it is or was challenger"
    if version.name != product_name() and {version.run_id, trial} & facts.copied:
        return f"a version of {product_name()} came from it"
    return "another trial started from it" if trial in facts.starts - {None} else ""


def _refusal(version: ModelVersion) -> str:
    """Why a version must stay, asked of the store as it is now, or ""."""
    said = registry.objection(version, "")
    if said:
        return said
    of_product, of_run = f"name = '{product_name()}'", f"run_id = '{version.run_id}'"
    related = registry.search_versions(of_product) + registry.search_versions(of_run)
    others = [other.name for other in related if other.name not in _names()]
    if others:
        return f"a version of {others[0]} came from its run"
    facts = _facts([_registered(version.name)], related + _started_from(version.tags.get("trial", "")))
    run = registry.run_of(version)
    return _needed(version, facts) or ("its run is at work" if run and run.info.status == "RUNNING" else "")


def _started_from(trial: str) -> list[ModelVersion]:
    """The versions of trials whose keys begin with another's, as theirs do that started from it."""
    return either(
        "filters by tags",
        lambda: registry.search_versions(f"tags.trial LIKE '{plain(trial)}-%'"),
        lambda: [version for name in model_names() for version in registry.search_versions(f"name = '{name}'")],
    )


def _begun(model: RegisteredModel) -> dict[int, str]:
    """The versions of a registered model that delete has begun with, by their numbers, and their runs."""
    marks = {tag.removeprefix(BEGUN): run for tag, run in model.tags.items() if tag.startswith(BEGUN)}
    return {int(number): run_id for number, run_id in marks.items() if number.isdecimal()}


def _registered(name: str) -> RegisteredModel:
    """A registered model, or an empty one where the store has none of that name."""
    return if_there(lambda: mlflow.MlflowClient().get_registered_model(name)) or RegisteredModel(name)


def _delete(name: str, number: int) -> tuple[str, str]:
    """The outcome for one version, and its reason."""
    if name not in _names():
        return "kept", f"it is neither a candidate nor a version of {product_name()}"
    client, version, begun = mlflow.MlflowClient(), registry.version_of(name, str(number)), _begun(_registered(name))
    if version is None and number not in begun:
        return "gone", ""
    with promotion.turn() if version and name == product_name() else nullcontext():
        said = version and _refusal(version)
        if version and not said:
            client.set_registered_model_tag(name, f"{BEGUN}{number}", version.run_id or "none")
            if_there(lambda: client.delete_model_version(name, str(number)))  # another process may have been faster
    files = "" if said else _delete_run(version.run_id if version else begun[number])
    if_there(lambda: client.delete_registered_model_tag(name, f"{BEGUN}{number}"))
    return ("kept", said) if said else ("deleted", files)


def _delete_run(run_id: str) -> str:
    """Delete a run and its logged models with their files, where it is a candidate's and no version has it any more.

    Gives the reason why there are files left, or "".
    """
    client, run = mlflow.MlflowClient(), registry.find_run(run_id)
    if run is None:
        return "its run was gone, and nobody looked for its files"
    if client.get_experiment(run.info.experiment_id).name not in experiment_names():
        return "its run is no candidate's"
    if registry.search_versions(f"run_id = '{run_id}'"):
        return "another version has them, too"
    client.delete_run(run_id)
    kept = [_delete_model(*model) for model in registry.logged_models(run).items()]
    return next(filter(None, [*kept, _delete_files(run_id, run.info.artifact_uri)]), "")


def _delete_model(model_id: str, place: str) -> str:
    """Delete a logged model, last of all, for it is only found by its own entry; until then it says FAILED."""
    client = mlflow.MlflowClient()
    client.finalize_logged_model(model_id, "FAILED")
    kept = _delete_files(model_id, place)
    client.delete_logged_model(model_id)
    return kept


def _delete_files(owner: str, place: str) -> str:
    """Delete all files at a place that bears its owner's id; gives why some are left, or ""."""
    if owner not in place:
        return "they lie at a place that is not theirs alone"
    files = get_artifact_repository(place)
    with _unable_is_fine():
        files.delete_artifacts()
    return "this store cannot delete files" if files.list_artifacts() else ""


@contextmanager
def _unable_is_fine() -> Iterator[None]:
    """Where a place for files answers that it does not know how to delete any, as several of MLflow's do."""
    try:
        yield
    except NotImplementedError:
        pass
    except mlflow.MlflowException as error:
        if error.error_code not in UNKNOWN and "not implemented" not in str(error).lower():
            raise
    except HTTPError as error:
        if error.response.status_code not in (404, 405, 501):
            raise
