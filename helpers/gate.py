"""What a challenger must pass before it becomes champion: sound files, the same games, and a better score."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel
from mlflow.types.schema import ColSpec
from packaging.requirements import InvalidRequirement, Requirement

from helpers import records, registry
from helpers.features import MATCHUP, OUTCOME, Split
from helpers.forward import kept_walk, score_name
from helpers.games import LEAGUES
from helpers.models.fitted import FittedModel
from helpers.scoring import brier_score, compare
from helpers.stores.hosted import Client
from helpers.trials import LIBRARIES


@dataclass(frozen=True)
class Decision:
    """What the gate found: whether the challenger passes, why, each check with what is wrong or "", and the numbers.

    against is the number of the champion that it met.
    """

    passes: bool
    reason: str
    against: str
    checks: dict[str, str]
    numbers: dict[str, float]


def examine(challenger: ModelVersion, champion: ModelVersion, split: Split, margin: float, seed: int) -> Decision:
    """Whether a challenger may take the champion's place.

    Its version must count, its files be sound and answer as they did, and it must have walked the same games as the
    champion. There it has to be better, by the 95 % interval of compare, or simpler and not worse by more than margin
    at that interval's upper end.
    """
    checks, numbers = check_files(challenger, split), {}
    if not checks["version"]:
        checks["games"], walks = _walks(challenger, champion, split)
        if walks:
            numbers = {**_differences(*walks, seed), "margin": margin}
            checks["score"] = _not_better(numbers, challenger, champion)
    wrong = "; ".join(filter(None, checks.values()))
    return Decision(not wrong, wrong or _praise(numbers), str(champion.version), checks, numbers)


def _differences(walk: pd.DataFrame, other: pd.DataFrame, seed: int) -> dict[str, float]:
    """The difference of two walks' Brier scores with its interval, on how many games, and by league."""
    outcome, numbers = walk[OUTCOME], {"games": len(walk)}
    numbers |= dict(compare(outcome, walk["Prediction"], other["Prediction"], seed).drop("clear"))
    for league, name in LEAGUES.items():
        part = walk["League"] == league
        if part.any():
            both = walk.loc[part, "Prediction"], other.loc[part, "Prediction"]
            numbers[f"difference_{name}"] = compare(outcome[part], *both, seed)["difference"]
    return numbers


def _praise(numbers: dict[str, float]) -> str:
    better = "better" if numbers["high"] < 0 else "simpler and not worse"
    return f"{better} over {numbers['games']} games: {_said(numbers)}"


def _said(numbers: dict[str, float]) -> str:
    return "{difference:+.4f} ({low:+.4f} to {high:+.4f})".format(**numbers)


def write_down(decision: Decision, challenger: ModelVersion) -> None:
    """Keep a decision on the version, as tags that begin with gate, in the place of those of an earlier one."""
    client, name, number = Client(), challenger.name, challenger.version
    kept = {"gate": "passed" if decision.passes else "refused", "gate_reason": decision.reason[:500]}
    kept |= {"gate_against": decision.against}
    kept |= {f"gate_{which}": f"{value:.6f}" for which, value in decision.numbers.items()}
    for tag in client.get_model_version(name, number).tags:
        if tag.startswith("gate") and tag not in kept:
            client.delete_model_version_tag(name, number, tag)
    for tag, value in kept.items():
        client.set_model_version_tag(name, number, tag, value)


def check_files(version: ModelVersion, split: Split) -> dict[str, str]:
    """What is wrong with a version and its files, or "", by the name of the check; what was changed is not loaded."""
    run = registry.run_of(version)
    checks = {"version": registry.objection(version, registry.state_of(run), run)}
    with tempfile.TemporaryDirectory() as place:
        try:
            folder = registry.fetch(version, place)
        except RuntimeError as error:
            return {**checks, "digest": str(error)}
        checks["digest"] = ""
        try:
            fitted, model = registry.load_folder(folder), Model.load(str(folder))
            pyfunc = _load_pyfunc(folder, model)
        except Exception as error:  # each library has its own
            return {**checks, "loads": f"it does not load: {type(error).__name__}"}
        for name, check in CHECKS.items():
            checks[name] = check(_Opened(folder, model, fitted, pyfunc, version, split))
            if checks[name]:  # a version without a sound signature cannot even be asked
                break
    return checks


@dataclass(frozen=True)
class _Opened:
    """A version whose files are those that were registered, and what was loaded of them."""

    folder: Path
    model: Model
    fitted: FittedModel
    pyfunc: PyFuncModel
    version: ModelVersion
    split: Split


def _load_pyfunc(folder: Path, model: Model) -> PyFuncModel:
    """With its own code, and not what another version's has left imported under that name."""
    pyfunc = model.flavors["python_function"]
    if "code" in pyfunc:
        sys.modules.pop(pyfunc["loader_module"], None)
    return mlflow.pyfunc.load_model(str(folder))


def _signature(one: _Opened) -> str:
    sides = [one.model.get_input_schema(), one.model.get_output_schema()]
    is_sound = all(side and all(isinstance(column, ColSpec) for column in side.inputs) for side in sides)
    return "" if is_sound and one.fitted.columns else "its signature names no columns"


def _example(one: _Opened) -> str:
    try:
        rows = one.model.load_input_example(str(one.folder))
        example = pd.DataFrame(np.asarray(rows), columns=one.fitted.columns)
        answers = one.fitted.predict(example)
    except Exception as error:
        return f"its input example cannot be used: {type(error).__name__}"
    return "" if len(answers) else "it has no input example"


def _requirements(one: _Opened) -> str:
    wanted = registry.requirements(one.fitted.packages)
    try:
        lines = (one.folder / "requirements.txt").read_text().split()
        pinned = {Requirement(line).name for line in lines if str(Requirement(line).specifier).startswith("==")}
    except (OSError, InvalidRequirement):
        return "its requirements cannot be read"
    missing = {Requirement(line).name for line in wanted} - pinned
    return f"its requirements do not pin {', '.join(sorted(missing))}" if missing else ""


def _answers(one: _Opened) -> str:
    """Beside those that its run kept when it was registered, in both ways of asking."""
    try:
        kept = records.load_predictions(one.version.run_id)
    except (mlflow.MlflowException, OSError):
        return "the predictions of its run are gone"
    games = one.split.validation
    if not games[MATCHUP].reset_index(drop=True).equals(kept[MATCHUP]):
        return "it was scored on other games"
    try:
        by_pyfunc = np.ravel(one.pyfunc.predict(games[one.fitted.columns]))
    except Exception as error:
        return f"its pyfunc does not answer: {type(error).__name__}"
    apart = max(np.abs(way - kept["Prediction"]).max() for way in (one.fitted.predict(games), by_pyfunc))
    return "" if apart <= one.fitted.tolerance(games) else f"its answers are {apart:.2g} from those that were scored"


def _no_number(one: _Opened) -> str:
    """By its pyfunc, which is what a server asks."""
    rows = one.split.validation[one.fitted.columns].head(2).reset_index(drop=True)
    rows.iloc[0, 0] = np.nan
    try:
        one.pyfunc.predict(rows)
    except (mlflow.MlflowException, ValueError):
        return ""
    return "its pyfunc answers a row with a missing value"


CHECKS: dict[str, Callable[[_Opened], str]] = {
    "signature": _signature,
    "input example": _example,
    "requirements": _requirements,
    "answers": _answers,
    "missing values": _no_number,
}


def _walks(challenger: ModelVersion, champion: ModelVersion, split: Split) -> tuple[str, list[pd.DataFrame]]:
    """What is wrong with the walk-forward predictions of the two, or "" and these."""
    walks = []
    for who, version in {"it": challenger, "the champion": champion}.items():
        try:
            walk = kept_walk(version.run_id, split)
        except (mlflow.MlflowException, OSError):
            walk = None
        if walk is None:
            return f"{who} has no walk-forward score on these games: run 05_challenge_the_champion first", []
        run = mlflow.get_run(version.run_id)
        kept = run.data.metrics[score_name(run, split)]
        if not abs(brier_score(walk[OUTCOME], walk["Prediction"]) - kept) < 1e-6:
            return f"the walk-forward predictions of {who} do not give its forward_brier", []
        walks.append(walk)
    return "", walks


def _is_simpler(challenger: ModelVersion, champion: ModelVersion) -> bool:
    order = list(LIBRARIES)
    one, other = (order.index(registry.trial_of(version).architecture) for version in (challenger, champion))
    return one < other


def _not_better(numbers: dict[str, float], challenger: ModelVersion, champion: ModelVersion) -> str:
    if (challenger.name, challenger.version) == (champion.name, champion.version):
        return "it is the champion itself"
    is_simpler = _is_simpler(challenger, champion)
    if numbers["high"] < 0 or (is_simpler and numbers["high"] <= numbers["margin"]):
        return ""
    if numbers["low"] > 0:
        return f"it is worse: {_said(numbers)}"
    if is_simpler:
        return f"it may be worse by more than {numbers['margin']:g}: {_said(numbers)}"
    return f"it is not clearly better: {_said(numbers)}"
