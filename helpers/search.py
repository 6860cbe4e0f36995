"""A guided search: Optuna proposes what to try next, the trials of the sweep answer, and the store remembers."""

from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass

import joblib
import mlflow
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from helpers import records, registry
from helpers.candidates import leaderboard
from helpers.features import Split
from helpers.models.fitted import Pruned
from helpers.sweep import at_work, until_all_are_done
from helpers.trials import ARCHITECTURES, Trial, experiment_names, plain

NETWORK = {
    "learning_rate": FloatDistribution(1e-3, 3e-2, log=True),
    "weight_decay": FloatDistribution(0.1, 30, log=True),
    "dropout": FloatDistribution(0, 0.5, step=0.25),  # each other share needs a new graph, which takes time
}
SPACE = {"linear": {"C": FloatDistribution(1e-3, 10, log=True)}, **dict.fromkeys(ARCHITECTURES, NETWORK)}
NETWORKS = list(ARCHITECTURES)
KINDS = optuna.distributions.CategoricalDistribution(tuple(SPACE))
BATCH_SIZE = 128  # fewer and longer steps than the grid's, which saves half the time
STARTUP = 3  # trials at random before the first that is guided, and before the first that may be given up


@dataclass(frozen=True)
class Recipe:
    """What all trials of a search have in common."""

    epochs: int
    seed: int
    features: str
    data: str

    def trial(self, asked: optuna.Trial) -> Trial:
        """The trial that an ask for a point of SPACE leads to."""
        architecture = asked.suggest_categorical("architecture", KINDS.choices)
        space = SPACE[architecture].items()
        drawn = {name: asked.suggest_float(name, d.low, d.high, step=d.step, log=d.log) for name, d in space}
        chosen: dict[str, float | int] = {name: float(f"{value:.3g}") for name, value in drawn.items()}
        if architecture in ARCHITECTURES:
            chosen |= {"epochs": self.epochs, "batch_size": BATCH_SIZE}
        return Trial(architecture, chosen, self.seed, self.features, self.data)


def random_trials(number: int, recipe: Recipe) -> list[Trial]:
    """Trials drawn at random from SPACE, the same ones for the same recipe: what a guided search has to beat.

    The first STARTUP are those that a guided search begins with.
    """
    study = _new_study()
    return [_ask(study, recipe, guided=False)[0] for _ in range(number)]


def run_search(
    number: int, recipe: Recipe, split: Split, besides: Collection[Trial] = (), n_jobs: int | None = None
) -> pd.DataFrame:
    """Search until that many trials of SPACE have a version, and tell what became of each that was run for it.

    What was found before counts and guides, but for the trials in besides, on which somebody else decided. A network is
    given up when three quarters of the others had a lower validation loss by the same epoch. n_jobs trials run side by
    side, as in run_sweep, and are proposed together. Gives run_sweep's rows, with the outcome pruned for those that
    were given up; none where the search is done. Raises as run_sweep, and RuntimeError when as many trials as wanted
    have failed.
    """
    study, rows = study_of(recipe, besides), []
    with at_work(max(0, number - len(_versions(study)))) as report:
        while (left := number - len(_versions(study))) > 0:
            if sum(trial.state is TrialState.FAIL for trial in study.trials) >= number:
                raise RuntimeError(f"{number} trials failed, the last one with {rows[-1]['reason']}.")
            asked = [_ask(study, recipe) for _ in range(min(left, joblib.effective_n_jobs(n_jobs)))]
            watches = {trial: _Pruning(deepcopy(study), one._trial_id) for trial, one in asked}
            became = dict(until_all_are_done(list(watches), split, n_jobs, watches))
            for trial, one in asked:
                _tell(study, one, trial, became[trial])
                report(trial, became[trial])
                rows.append({"model": trial.model, **trial.parameters, **became[trial]})
    return pd.DataFrame(rows)


def study_of(recipe: Recipe, besides: Collection[Trial] = ()) -> optuna.Study:
    """What the store knows of a search, as a study of Optuna's: its versions, and the trials that were given up."""
    study, others = _new_study(), {trial.key for trial in besides}
    try:
        board = leaderboard(recipe.data)
    except LookupError:
        board = pd.DataFrame(columns=["trial", "run_id"])
    client = mlflow.MlflowClient()
    runs = [client.get_run(run_id) for run_id in board[~board["trial"].isin(others)]["run_id"]]
    given_up = mlflow.search_runs(
        experiment_names=experiment_names(),
        filter_string=f"attributes.status = 'KILLED' and params.data = '{plain(recipe.data)}'",
        output_format="list",
    )
    runs += [run for run in given_up if run.data.tags.get("reason", "").startswith(Pruned.__name__)]
    for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)):
        point = _point(run.data.params, recipe)
        if point:
            study.add_trial(_finished(run, point))
    return study


def _point(params: dict[str, str], recipe: Recipe) -> dict[str, float | str]:
    """Where in SPACE a run of this recipe lies, or nothing where it is none."""
    space = SPACE.get(params["architecture"], {})
    fixed = {"seed": recipe.seed, "features": recipe.features, "data": recipe.data}
    if params["architecture"] in ARCHITECTURES:
        fixed |= {"epochs": recipe.epochs, "batch_size": BATCH_SIZE}
    named = {"architecture", *space, *fixed}
    if set(params) != named or any(params[name] != str(value) for name, value in fixed.items()):
        return {}
    point = {name: float(params[name]) for name in space}
    is_inside = all(d.low <= point[name] <= d.high for name, d in space.items())
    return {"architecture": params["architecture"], **point} if is_inside else {}


def _finished(run: mlflow.entities.Run, point: dict[str, float | str]) -> optuna.trial.FrozenTrial:
    is_done = run.info.status == "FINISHED"
    return create_trial(
        state=TrialState.COMPLETE if is_done else TrialState.PRUNED,
        params=point,
        distributions={"architecture": KINDS, **SPACE[point["architecture"]]},
        value=run.data.metrics["val_brier"] if is_done else None,
        intermediate_values=records.load_losses(run.info.run_id)["validation"].to_dict(),
        user_attrs={"trial": run.data.tags["trial"]},
    )


def _versions(study: optuna.Study) -> set[str]:
    return {trial.user_attrs["trial"] for trial in study.get_trials(states=[TrialState.COMPLETE])}


def _new_study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of every study and trial on stderr
    pruner = optuna.pruners.PercentilePruner(75, n_startup_trials=STARTUP, n_warmup_steps=5)
    return optuna.create_study(pruner=pruner)


def _ask(study: optuna.Study, recipe: Recipe, guided: bool = True) -> tuple[Trial, optuna.Trial]:
    """What to try next, by what the study knows or at random."""
    # The seed goes on with the trials, so a search that was stopped and begun again proposes what it would have.
    seed, known = recipe.seed + len(study.trials), len(study.get_trials(states=[TrialState.COMPLETE]))
    samplers = optuna.samplers
    is_guided = guided and known >= STARTUP
    study.sampler = samplers.TPESampler(n_startup_trials=0, seed=seed) if is_guided else samplers.RandomSampler(seed)
    asked = study.ask()
    return recipe.trial(asked), asked


@dataclass(frozen=True)
class _Pruning:
    """Watches a training, in whatever process, with a copy of what was known when it began."""

    study: optuna.Study
    number: int

    def __call__(self, epoch: int, loss: float) -> None:
        trial = optuna.trial.Trial(self.study, self.number)
        trial.report(loss, epoch)
        if trial.should_prune():
            raise Pruned(f"epoch {epoch}, validation loss {loss:.4f}")


def _tell(study: optuna.Study, asked: optuna.Trial, trial: Trial, row: dict) -> None:
    """Let the study know what became of a trial."""
    asked.set_user_attr("trial", trial.key)
    if row["version"] is None:
        study.tell(asked, state=TrialState.PRUNED if row["outcome"] == "pruned" else TrialState.FAIL)
        return
    version = registry.find_version(trial.model, trial.key)
    for epoch, loss in records.load_losses(version.run_id)["validation"].items():
        asked.report(loss, epoch)
    study.tell(asked, registry.made_of(version)["val_brier"])


def importances(study: optuna.Study, seed: int) -> pd.Series:
    """How much of the spread in score each parameter of the networks explains: shares that add up to 1.

    Empty where fewer than two networks have finished. Optuna's fANOVA; source: F. Hutter, H. Hoos, K. Leyton-Brown, An
    efficient approach for assessing hyperparameter importance (2014).
    """
    networks = _new_study()
    networks.add_trials([trial for trial in study.get_trials(states=[TrialState.COMPLETE]) if "C" not in trial.params])
    if len(networks.trials) < 2:
        return pd.Series(dtype=float)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return pd.Series(optuna.importance.get_param_importances(networks, evaluator=evaluator))
