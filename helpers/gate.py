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
from mlflow.types.schema import ColSpec
from packaging.requirements import InvalidRequirement, Requirement

from helpers import records, registry
from helpers.features import MATCHUP, OUTCOME, Split
from helpers.forward import kept_walk
from helpers.games import LEAGUES
from helpers.models.fitted import FittedModel
from helpers.scoring import brier_score, compare
from helpers.stores.hosted import Client
from helpers.trials import LIBRARIES


@dataclass(frozen=True)
class Decision:
    """What the gate found: whether the challenger passes, why, each check with what is wrong or "", and the numbers."""

    passes: bool
    reason: str
    checks: dict[str, str]
    numbers: dict[str, float]


def examine(challenger: ModelVersion, champion: ModelVersion, split: Split, margin: float, seed: int) -> Decision:
    """Whether a challenger may take the champion's place.

    Its version must count, its files be sound and answer as they did, and it must have walked the same games as the
    champion. There it has to be better, by the 95 % interval of compare, or simpler and not worse by more than margin
    at that interval's upper end.
    """
    checks, numbers = check_files(challenger, split), {}
    checks["games"], walks = _walks(challenger, champion, split)
    if walks:
        outcome = walks[0][OUTCOME]
        numbers = dict(compare(outcome, walks[0]["Prediction"], walks[1]["Prediction"], seed).drop("clear"))
        for league, name in LEAGUES.items():
            part = walks[0]["League"] == league
            if part.any():
                both = (walk.loc[part, "Prediction"] for walk in walks)
                numbers[f"difference_{name}"] = compare(outcome[part], *both, seed)["difference"]
        checks["score"] = _not_better(numbers, _is_simpler(challenger, champion), margin)
    wrong = {name: reason for name, reason in checks.items() if reason}
    difference = "{difference:+.4f} ({low:+.4f} to {high:+.4f})".format(**numbers) if numbers else ""
    better = "better" if numbers and numbers["high"] < 0 else "simpler and not worse"
    reason = "; ".join(wrong.values()) if wrong else f"{better} over {len(walks[0])} games: {difference}"
    return Decision(not wrong, reason, checks, numbers)


def write_down(decision: Decision, challenger: ModelVersion) -> None:
    """Keep a decision on the version: a tag for whether it passed, one for why, and one per number."""
    client = Client()
    numbers = {name: f"{value:.6f}" for name, value in decision.numbers.items()}
    kept = {"gate": "passed" if decision.passes else "refused", "gate_reason": decision.reason[:500], **numbers}
    for name, value in kept.items():
        client.set_model_version_tag(challenger.name, challenger.version, name, value)


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
        except Exception as error:  # each library has its own
            return {**checks, "loads": f"it does not load: {type(error).__name__}"}
        for name, check in CHECKS.items():
            checks[name] = check(_Opened(folder, model, fitted, version, split))
            if checks[name]:  # a version without a sound signature cannot even be asked
                break
    return checks


@dataclass(frozen=True)
class _Opened:
    """A version whose files are those that were registered, and what was loaded of them."""

    folder: Path
    model: Model
    fitted: FittedModel
    version: ModelVersion
    split: Split


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
    """Beside those that its run kept when it was registered."""
    try:
        kept = records.load_predictions(one.version.run_id)
    except (mlflow.MlflowException, OSError):
        return "the predictions of its run are gone"
    games = one.split.validation
    if not games[MATCHUP].reset_index(drop=True).equals(kept[MATCHUP]):
        return "it was scored on other games"
    apart = np.abs(one.fitted.predict(games) - kept["Prediction"].to_numpy()).max()
    return "" if apart <= one.fitted.tolerance(games) else f"its answers are {apart:.2g} from those that were scored"


def _no_number(one: _Opened) -> str:
    """By its pyfunc, which is what a server asks, and by its own code, not what another version's left imported."""
    pyfunc = one.model.flavors["python_function"]
    if "code" in pyfunc:
        sys.modules.pop(pyfunc["loader_module"], None)
    rows = one.split.validation[one.fitted.columns].head(2).reset_index(drop=True)
    rows.iloc[0, 0] = np.nan
    try:
        mlflow.pyfunc.load_model(str(one.folder)).predict(rows)
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
        walk = kept_walk(version.run_id, split)
        if walk is None:
            return f"{who} has no walk-forward score on these games", []
        kept = mlflow.get_run(version.run_id).data.metrics["forward_brier"]
        if not abs(brier_score(walk[OUTCOME], walk["Prediction"]) - kept) < 1e-6:
            return f"the walk-forward predictions of {who} do not give its forward_brier", []
        walks.append(walk)
    return "", walks


def _is_simpler(challenger: ModelVersion, champion: ModelVersion) -> bool:
    order = list(LIBRARIES)
    one, other = (order.index(registry.trial_of(version).architecture) for version in (challenger, champion))
    return one < other


def _not_better(numbers: dict[str, float], is_simpler: bool, margin: float) -> str:
    if numbers["high"] < 0 or (is_simpler and numbers["high"] <= margin):
        return ""
    said = "{difference:+.4f} ({low:+.4f} to {high:+.4f})".format(**numbers)
    if numbers["low"] > 0:
        return f"it is worse: {said}"
    return f"it may be worse by more than {margin}: {said}" if is_simpler else f"it is not clearly better: {said}"
