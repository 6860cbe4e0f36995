"""A version carried to where its store cannot be reached: packed into a folder, checked there, registered there."""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from helpers import claims, promotion, records, registry
from helpers.locked import with_hashes
from helpers.models.fitted import FittedModel
from helpers.stores.hosted import Client
from helpers.trials import experiment_name

SUMS, LINEAGE, GAMES, REQUIREMENTS = "SHA256SUMS", "lineage.json", "games.csv", "requirements.txt"
ANSWER = "Prediction"  # the column of GAMES beside the features
KEPT_TAGS = ("gate", "from_")  # what a version's tags begin with that LINEAGE keeps: its decision, where it was before
UNSAID = ("season_", "drift_")  # how metrics begin that say nothing without their season


def pack(version: ModelVersion, folder: Path, games: pd.DataFrame, lock: Path) -> str:
    """Pack a version into a new folder; give "", or a sentence where its requirements could not be given hashes.

    The folder holds model/, which mlflow.pyfunc.load_model reads; requirements.txt for pip's --require-hashes, from a
    lock file with hashes that this environment was installed from; games.csv, some games' features with this model's
    answers; lineage.json, where it comes from; and last SHA256SUMS over all of them, for sha256sum -c. model/ is what
    was registered, but for its MLmodel, which does not say any more where in this store it lay. The sums tell what was
    damaged, and not who wrote them: for that, send the SHA-256 of SHA256SUMS another way, to be compared before unpack.

    Raises ValueError where the folder is not empty or the games are too few to tell two models apart, and RuntimeError
    as registry.fetch, or where the version does not count.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: pack into a new folder.")
    version, run = Client().get_model_version(version.name, version.version), registry.run_of(version)
    wrong = registry.objection(version, registry.state_of(run), run)
    if wrong:
        raise RuntimeError(f"{version.name} version {version.version} does not count ({wrong}): carry another one.")
    with tempfile.TemporaryDirectory() as place:
        files = registry.fetch(version, place)
        fitted = registry.load_folder(files)
        games = games[fitted.columns].assign(**{ANSWER: fitted.predict(games)})
        if games[ANSWER].nunique() < 2:
            raise ValueError(
                f"The model gives {len(games)} games one answer; give it some that it answers differently."
            )
        shutil.copytree(files, folder / "model", ignore=shutil.ignore_patterns("registered_model_meta", "__pycache__"))
    registry.label(folder / "model", artifact_path="model", model_id=None)
    lines, said = with_hashes(folder / "model" / REQUIREMENTS, lock)
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in lines))
    games.to_csv(folder / GAMES, index=False)
    lineage = _lineage(version, run) | {
        "files": registry.digest(folder / "model"),
        "tolerance": fitted.tolerance(games),
    }
    (folder / LINEAGE).write_text(json.dumps(lineage, indent=2))
    (folder / SUMS).write_text("".join(f"{total}  {path}\n" for path, total in _sums(folder).items()))
    return said


def _lineage(version: ModelVersion, run: Run) -> dict[str, object]:
    """Where a version comes from, with nothing of the store but its kind: an address may hold a password or a path."""
    made_of = registry.made_of(version)
    return {
        "model": version.name,
        "version": str(version.version),
        "run": version.run_id,
        "trial": version.tags["trial"],
        "digest": version.tags["digest"],
        "data": run.data.params.get("data", ""),
        "params": {name: made_of.get(name, value) for name, value in run.data.params.items()},  # numbers as such
        "scores": run.data.metrics,
        "tags": {tag: value for tag, value in version.tags.items() if tag.startswith(KEPT_TAGS)},
        "aliases": promotion.aliases_of(version),
        "store": mlflow.get_tracking_uri().partition(":")[0],
    }


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder but SUMS, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def unpack(folder: Path, name: str) -> ModelVersion:
    """Register a packed version in the store in use under a name, once: a second call finds it and adds nothing.

    Its run is one of its architecture's experiment, with its parameters and without scores, so it is no candidate here;
    what it scored there, and where it was, are tags that begin with from_, and lineage.json lies with the run. No alias
    is moved. A call that dies leaves no version, or a whole one, and the next one finishes. Raises RuntimeError, with
    the file, where the folder is not as it was packed, before anything of it is loaded; where the model does not load,
    or answer as it did; or when another process is at it.
    """
    if not folder.is_dir():
        raise RuntimeError(f"There is no folder {folder}: give the one that was packed.")
    with tempfile.TemporaryDirectory() as place:
        # What is checked is what is used; Python leaves a __pycache__ beside a pyfunc that was loaded from the folder.
        copy = Path(shutil.copytree(folder, Path(place) / "copy", ignore=shutil.ignore_patterns("__pycache__")))
        _refuse_what_was_changed(copy, folder)
        lineage = json.loads((copy / LINEAGE).read_text())
        key = f"carried-{lineage['files'][:16]}"
        claims.close_dead_runs()  # one of them may have registered it and not come to close its run
        return registry.find_version(name, key) or _register(copy, lineage, key, name)


def _refuse_what_was_changed(copy: Path, folder: Path) -> None:
    """Raise RuntimeError with each file of a copy of the folder that is not as it was packed."""
    if not (copy / SUMS).exists():
        raise RuntimeError(f"{folder} has no {SUMS}: it was not packed to the end, or is no packed model.")
    listed = {path: total for total, path in re.findall(r"(?m)^(\w{64})  (.+)$", (copy / SUMS).read_text())}
    there = _sums(copy)
    wrong = [f"{path} is missing" for path in {**listed, LINEAGE: ""} if path not in there]
    wrong += [f"{path} was added" for path in there if path not in listed]
    wrong += [f"{path} was changed" for path in there if there[path] != listed.get(path, there[path])]
    if not wrong and registry.digest(copy / "model") != json.loads((copy / LINEAGE).read_text())["files"]:
        wrong = [f"model/ is not the one of {LINEAGE}"]
    if wrong:
        raise RuntimeError(f"{folder} is not as it was packed ({', '.join(wrong)}); nothing was loaded, pack it again.")


def _register(copy: Path, lineage: dict, key: str, name: str) -> ModelVersion:
    games = pd.read_csv(copy / GAMES)
    fitted = _answering(copy / "model", games)
    experiment = experiment_name(lineage["params"]["architecture"])
    run = claims.claim(experiment, key, f"carried from {lineage['model']} {lineage['version']}")
    if run is None:
        raise RuntimeError(f"Another process is registering this model as {name}; wait for it.")
    run_id, client = run.info.run_id, mlflow.MlflowClient()
    with claims.held(run_id):
        records.log_parameters(run_id, lineage["params"])
        for file in (LINEAGE, GAMES, REQUIREMENTS):
            client.log_artifact(run_id, str(copy / file))
        uri = registry.log_folder(run_id, copy / "model")
        digest = registry.check_reloaded(uri, fitted, games)
        return registry.register(uri, name, registry.version_tags(key, digest, lineage["params"]) | _tags(lineage))


def _answering(model: Path, games: pd.DataFrame) -> FittedModel:
    """The model, if it loads and answers as it did; games hold its answers."""
    try:
        fitted = registry.load_folder(model)
        apart = np.abs(fitted.predict(games) - games[ANSWER]).max()
    except Exception as error:  # each library has its own
        said = f"The model cannot be used here ({claims.reason(error)}): install its {REQUIREMENTS} first."
        raise RuntimeError(said) from error
    if not apart <= fitted.tolerance(games):
        raise RuntimeError(f"The model answers up to {apart:.2g} apart from {GAMES}: install its {REQUIREMENTS} first.")
    return fitted


def _tags(lineage: dict) -> dict[str, str]:
    """Where a version comes from, as its tags; without empty ones, which some services do not take."""
    said = {fact: lineage[fact] for fact in ("model", "version", "run", "trial", "digest", "data")}
    scores = {name: value for name, value in lineage["scores"].items() if not name.startswith(UNSAID)}
    said |= {name: f"{value:.6f}" for name, value in scores.items()}
    said["aliases"] = ", ".join(lineage["aliases"])
    return {f"from_{fact}": value for fact, value in said.items() if value}
