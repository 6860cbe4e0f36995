"""What a version is and where it comes from, told by the registry alone: its lineage, and its model card."""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from helpers import forward, promotion, records, registry
from helpers.features import OUTCOME
from helpers.games import LEAGUES
from helpers.scoring import reliability, score_table
from helpers.stores.hosted import alias_uri
from helpers.trials import model_names, product_name

FILE = "model_card.md"
SCORES = ("val_brier", "forward_brier", "test_brier")
SETS = {"validation": records.PREDICTIONS, "walk-forward": forward.file_of("forward_brier")}
INTENDED_USE = (
    "The chance, from 0 to 1, that the first of two teams beats the second in a game of the NCAA tournament, "
    "men's or women's, from what both did in the regular season before it. For people who learn, compare models or "
    "fill in a bracket. Not for games of the regular season, other leagues or games under way, on which nobody "
    "has tried it, nor for betting."
)
METRICS = (
    "The Brier score, the mean squared difference between the chance and the outcome: 0 is perfect, 0.25 is what "
    "0.5 for every game gets, lower is better. Its 95 % interval is a bootstrap over games. Calibration: in how "
    "many of the games with about the same chance the first team won."
)
ETHICS = (
    "It is made from results of teams and holds nothing about persons. Its chances look exact and are not: who "
    "shows one should show with it how far it may be off."
)
CAVEATS = (
    "A season has few games, and luck decides many of them: scores of single seasons move far more than models "
    "differ. The candidate with the best score was chosen for it, so its score flatters it a little. Basketball "
    "changes: watch the score season by season, and make a new candidate when the games of a season are there. "
    "This card says what was known when it was written; aliases and decisions may have moved since.\n\n"
    "The headings of this card are those of M. Mitchell and others, Model Cards for Model Reporting (2019)."
)


def lineage(version: ModelVersion) -> pd.DataFrame:
    """The steps from the data to the aliases of a version, as the registry has them.

    One row per step: step (data, run, candidate, version, decision, alias), name, facts in words, and when (UTC, NaT
    where nobody kept it). There are as many decisions as the gate and the record of champions know of the version.
    """
    return _lineage(version, registry.run_of(version), promotion.aliases_of(version))


def _lineage(version: ModelVersion, run: Run | None, aliases: list[str]) -> pd.DataFrame:
    is_product = version.name == product_name()
    steps = [_data_step(version, run), _run_step(run), *_candidate_steps(version)]
    if version.name not in model_names():
        steps.append(_version_step("version", version))
    steps += [*_gate_steps(version), *(_moves(str(version.version)) if is_product else [])]
    steps.append(("alias", ", ".join(aliases) or "none", "", None))
    table = pd.DataFrame(steps, columns=["step", "name", "facts", "when"])
    return table.assign(when=pd.to_datetime(table["when"], unit="ms", utc=True))


Step = tuple[str, str, str, int | None]  # the last is in milliseconds, as MLflow's own times


def _data_step(version: ModelVersion, run: Run | None) -> Step:
    kept, games = _made_of(version, run), _training_games(run)
    facts = f"{kept.get('features', 'unknown')} features" + (f", {games:,} games to train on" if games else "")
    return "data", str(kept.get("data", "unknown")), facts, None


def _made_of(version: ModelVersion, run: Run | None) -> dict[str, object]:
    return {**registry.made_of(version), **(run.data.params if run else {})}


def _training_games(run: Run | None) -> int | None:
    """How many games a run was trained on, where it kept that."""
    inputs = run.inputs.dataset_inputs if run and run.inputs else []
    return next((json.loads(one.dataset.profile)["num_rows"] for one in inputs if one.dataset.profile), None)


def _run_step(run: Run | None) -> Step:
    if run is None:
        return "run", "gone", "the store does not have it any more", None
    scores = [f"{name} {run.data.metrics[name]:.4f}" for name in SCORES if name in run.data.metrics]
    state = [] if run.info.lifecycle_stage == "active" else ["deleted"]
    facts = ", ".join([run.data.params.get("architecture", "unknown"), *scores, *state])
    return "run", run.info.run_name, facts, run.info.end_time


def _candidate_steps(version: ModelVersion) -> list[Step]:
    """The candidates of the version's run; and where it was copied from one that is gone, that one."""
    found = registry.search_versions(f"run_id = '{version.run_id}'") if version.run_id else []
    steps = [_version_step("candidate", one) for one in found if one.name in model_names()]
    source = re.fullmatch(r"models:/([^/]+)/(\d+)", version.source or "")
    if steps or not source or source[1] not in model_names():
        return steps
    return [("candidate", f"{source[1]} version {source[2]}", "deleted", None)]


def _version_step(step: str, version: ModelVersion) -> Step:
    facts = version.description or "" if step == "version" else f"trial {version.tags.get('trial', 'unknown')}"
    return step, f"{version.name} version {version.version}", facts, version.creation_timestamp


def _gate_steps(version: ModelVersion) -> list[Step]:
    tags = version.tags
    if "gate" not in tags:
        return []
    against = f"against version {tags.get('gate_against', 'unknown')}: {tags.get('gate_reason', '')}"
    return [("decision", f"gate {tags['gate']}", against, None)]


def _moves(number: str) -> list[Step]:
    """The moves that made a version champion or ended that."""
    moves = promotion.history()
    steps = []
    for move in moves[(moves["to"] == number) | (moves["from"] == number)].to_dict("records"):
        came, other = move["to"] == number, move["from"] if move["to"] == number else move["to"]
        facts = f"{'became champion after' if came else 'gave way to'} {f'version {other}' if other else 'nobody'}"
        reason = f": {move['reason']}" if move["how"] not in ("gate", "by hand") else ""
        steps.append(("decision", move["how"], facts + reason, int(move["when"].timestamp() * 1000)))
    return steps


@dataclass(frozen=True)
class _Subject:
    """All that a card is made from."""

    version: ModelVersion
    run: Run | None
    aliases: list[str]
    model: Model
    example: pd.DataFrame
    requirements: str
    games: dict[str, pd.DataFrame]


def log_card(version: ModelVersion, seed: int) -> str:
    """Log a version's card as an artifact of its run, and give back its address, which the tag model_card holds, too.

    Raises as model_card, and MlflowException where the run is gone.
    """
    mlflow.MlflowClient().log_text(version.run_id, model_card(version, seed), FILE)
    address = f"runs:/{version.run_id}/{FILE}"
    mlflow.MlflowClient().set_model_version_tag(version.name, version.version, "model_card", address)
    return address


def model_card(version: ModelVersion, seed: int) -> str:
    """A version's model card in Markdown, from what the registry keeps of it; seed is for the intervals.

    What nobody has found out yet, such as a walk-forward score, the card calls missing. Raises RuntimeError as
    registry.fetch: files that are not those that were registered get no card.
    Source of the headings: M. Mitchell and others, Model Cards for Model Reporting, FAT* (2019).
    """
    subject = _look_up(mlflow.MlflowClient().get_model_version(version.name, version.version))
    parts = {heading: text if isinstance(text, str) else text(subject, seed) for heading, text in SECTIONS.items()}
    title = f"# Model card: {version.name} version {version.version}\n"
    return "\n".join([title, *(f"## {heading}\n\n{text}\n" for heading, text in parts.items())])


def _look_up(version: ModelVersion) -> _Subject:
    run = registry.run_of(version)
    with tempfile.TemporaryDirectory() as place:
        folder = registry.fetch(version, place)
        model = Model.load(str(folder))
        wanted = model.get_input_schema().input_names()
        example = pd.DataFrame(np.asarray(model.load_input_example(str(folder))), columns=wanted)
        requirements = Path(folder, "requirements.txt").read_text().strip()
    return _Subject(version, run, promotion.aliases_of(version), model, example, requirements, _kept_games(run))


def _kept_games(run: Run | None) -> dict[str, pd.DataFrame]:
    """The games that a run kept its predictions of, by the name of their set."""
    if run is None:
        return {}
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    has_walked = "forward_brier" in run.data.metrics  # which is logged when all of a walk is there
    there = {name: file for name, file in SETS.items() if file in files and (name != "walk-forward" or has_walked)}
    return {name: records.load_predictions(run.info.run_id, file) for name, file in there.items()}


def _details(subject: _Subject, seed: int) -> str:
    version, made_of = subject.version, _made_of(subject.version, subject.run)
    aside = ("data", "features", "seal", "val_brier", "source")
    of = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made_of.items() if name not in aside)
    registered = pd.Timestamp(version.creation_timestamp, unit="ms", tz="UTC")
    facts = {
        "Version": f"{version.name} {version.version}, registered {registered:%Y-%m-%d}",
        "Aliases now": ", ".join(subject.aliases) or "none",
        "Made of": of,
        "Kinds it loads as": ", ".join(sorted(subject.model.flavors)),
        "SHA-256 of its files": version.tags.get("digest", "unknown"),
        "Described as": version.description or "nothing",
    }
    steps = _lineage(version, subject.run, subject.aliases)
    when = steps["when"].dt.strftime("%Y-%m-%d %H:%M").fillna("")
    return "\n\n".join(
        [
            "\n".join(f"- {name}: {_line(fact)}" for name, fact in facts.items()),
            f"### How to load it\n\n{_how_to_load(subject)}",
            f"### Requirements\n\n```text\n{subject.requirements}\n```",
            f"### Lineage\n\n{_table(steps.assign(when=when).rename(columns={'when': 'when (UTC)'}))}",
        ]
    )


def _how_to_load(subject: _Subject) -> str:
    """Commands that run as they stand, by the alias where it points here, and by number."""
    name, number = subject.version.name, subject.version.version
    is_champion = name == product_name() and "champion" in subject.aliases
    addresses = dict.fromkeys([*([alias_uri(name, "champion")] if is_champion else []), f"models:/{name}/{number}"])
    says = {True: "who is champion now", False: "this version"}
    commands = [f'model = mlflow.pyfunc.load_model("{uri}")  # {says["@" in uri]}' for uri in addresses]
    row = subject.example.iloc[0].round(3)
    values = [f'    "{column}": [{value}],' for column, value in row.items()]
    asked = ["game = pd.DataFrame({", *values, "})", "chance = model.predict(game)"]
    code = "\n".join(["import mlflow", "import pandas as pd", "", *commands, *asked])
    columns = ", ".join(f"`{column}`" for column in row.index)
    return (
        "With `MLFLOW_TRACKING_URI` at the store of this card. An alias may move, a number does not.\n\n"
        f"```python\n{code}\n```\n\n"
        f"It wants {len(row)} columns of numbers, in any order: {columns}. A row in which one is missing or "
        "infinite is refused."
    )


def _factors(subject: _Subject, seed: int) -> str:
    leagues = {LEAGUES[league] for games in subject.games.values() for league in games["League"].unique()}
    if not leagues:
        return "The league, men or women, and the season; it has no score by them yet."
    return (
        f"The league and the season. Below, {' and '.join(sorted(leagues))} are scored apart, because upsets are more "
        "frequent among the men."
    )


def _evaluation(subject: _Subject, seed: int) -> str:
    if not subject.games:
        return "Missing: its run keeps no predictions."
    said = {
        "validation": "Validation: the seasons by which candidates are chosen and trainings stopped.",
        "walk-forward": "Walk-forward: its recipe trained anew for each season, on the seasons before it alone.",
    }
    rows = [(name, _seasons(games), f"{len(games):,}") for name, games in subject.games.items()]
    words = [said[name] for name in subject.games]
    missing = [] if "walk-forward" in subject.games else ["Walk-forward: missing, it has not walked yet."]
    return "\n\n".join([" ".join(words + missing), _table(pd.DataFrame(rows, columns=["games", "seasons", "number"]))])


def _seasons(games: pd.DataFrame) -> str:
    """As 2015 to 2018, 2020."""
    seasons = pd.Series(np.sort(games["Season"].unique()))
    spans = seasons.groupby((seasons.diff() != 1).cumsum()).agg(["min", "max"])
    return ", ".join(f"{low} to {high}" if low < high else f"{low}" for low, high in spans.itertuples(index=False))


def _training(subject: _Subject, seed: int) -> str:
    made_of, games = _made_of(subject.version, subject.run), _training_games(subject.run)
    facts = {
        "Source": made_of.get("source", "missing, the run does not keep it"),
        "Fingerprint of the training and validation games": made_of.get("data", "missing"),
        "Features": f"{made_of.get('features', 'missing')}, {subject.example.shape[1]} columns",
        "Games to train on": f"{games:,}" if games else "missing, the run does not keep it",
    }
    return "\n".join(f"- {name}: {_line(fact)}" for name, fact in facts.items())


def _analyses(subject: _Subject, seed: int) -> str:
    scores = [_scores(name, games, seed) for name, games in subject.games.items()]
    test = subject.run.data.metrics.get("test_brier") if subject.run else None
    walk = subject.games.get("walk-forward")
    return "\n\n".join(
        [
            _table(pd.concat(scores)) if scores else "Scores: missing.",
            f"Test seasons, scored once: {test:.4f}." if test is not None else "Test seasons: not scored yet.",
            f"### Calibration\n\n{_calibration(walk) if walk is not None else 'Missing: it has not walked yet.'}",
            f"### The gate\n\n{_gate(subject.version)}",
        ]
    )


def _scores(name: str, games: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The Brier score of a set of games with its interval, for all of them and for each league."""
    parts = {"all": games} | {LEAGUES[league]: part for league, part in games.groupby("League")}
    rows = []
    for part, some in parts.items():
        some = some.reset_index(drop=True)
        score = score_table({name: some["Prediction"]}, some, seed).loc[name]
        interval = f"{score['low']:.4f} to {score['high']:.4f}"
        rows.append((name, part, f"{len(some):,}", f"{score['all']:.4f}", interval))
    return pd.DataFrame(rows, columns=["games", "league", "number", "Brier score", "95 % interval"])


def _calibration(walk: pd.DataFrame) -> str:
    bins = reliability(walk[OUTCOME], walk["Prediction"])
    luck = bins["low"].map("{:.2f}".format) + " to " + bins["high"].map("{:.2f}".format)
    shown = bins[["predicted", "observed"]].map("{:.2f}".format).assign(games=bins["games"], luck=luck)
    table = _table(shown.rename(columns={"predicted": "mean chance", "observed": "share won"}))
    words = "Of the walk-forward games; luck is where 95 % of the shares would lie if the chances were true."
    return f"{words}\n\n{table}"


def _gate(version: ModelVersion) -> str:
    tags = version.tags
    if "gate" not in tags:
        return "Missing: no gate has examined it."
    said = _line(f"{tags['gate'].capitalize()} against version {tags.get('gate_against')}: {tags.get('gate_reason')}.")
    parts = {"all": "gate_difference"} | {name: f"gate_difference_{name}" for name in LEAGUES.values()}
    differences = [f"{part} {float(tags[tag]):+.4f}" for part, tag in parts.items() if tag in tags]
    margin = f"; the margin was {float(tags['gate_margin']):g}" if "gate_margin" in tags else ""
    return f"{said} Its Brier score minus the other's: {', '.join(differences)}{margin}." if differences else said


SECTIONS = {
    "Model details": _details,
    "Intended use": INTENDED_USE,
    "Factors": _factors,
    "Metrics": METRICS,
    "Evaluation data": _evaluation,
    "Training data": _training,
    "Quantitative analyses": _analyses,
    "Ethical considerations": ETHICS,
    "Caveats and recommendations": CAVEATS,
}


def _line(text: object) -> str:
    """Text that stays in its line and its cell, whoever wrote it."""
    return re.sub(r"\s+", " ", str(text)).strip().replace("|", r"\|").replace("<", "&lt;")


def _table(frame: pd.DataFrame) -> str:
    rows = [list(frame), ["---"] * frame.shape[1], *frame.itertuples(index=False, name=None)]
    return "\n".join(f"| {' | '.join(map(_line, row))} |" for row in rows)
