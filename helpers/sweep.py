"""Run trials: one after the other or side by side, each once, whatever happens."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import joblib
import mlflow
import pandas as pd
from IPython import get_ipython
from joblib.externals.loky import get_reusable_executor
from matplotlib import rc_context
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion
from sqlalchemy.exc import SQLAlchemyError
from tqdm.notebook import tqdm

from helpers import claims, plots, records, registry
from helpers.features import MATCHUP, OUTCOME, Split
from helpers.models import check, keras, library_of
from helpers.models.fitted import FittedModel, Pruned, Watch
from helpers.scoring import brier_score
from helpers.stores import StoreError, StoreRefusalError
from helpers.stores.server import check_upload
from helpers.stores.store import check_store, store_in_use, use_store
from helpers.surroundings import take_hold
from helpers.trials import Trial

PATIENCE_SECONDS = 18  # for a store that is away; with the calls that fail first and the last try, half a minute
BEHIND_SECONDS = 40  # for a part behind a server, which comes back within half a minute or is known to be away
STORE_FAULTS = (mlflow.MlflowException, OSError, SQLAlchemyError, StoreError)
ATTEMPTS = 3  # at a trial, when it is the store that failed and it is well again

_workers_see: dict[str, str] = {}  # the environment in which loky's workers were started


def run_sweep(trials: Iterable[Trial], split: Split, n_jobs: int | None = None) -> pd.DataFrame:
    """Run every trial that has no version yet, and tell what became of each.

    n_jobs trials run side by side, in processes of joblib's backend: loky, or what joblib.parallel_config names, but
    for multiprocessing, whose forks TensorFlow does not survive. A trial that someone else is at work on is waited
    for. One that fails is closed as FAILED with its reason, and the others go on. Gives one row per trial:
    model, the trial's parameters, version, outcome (trained, found, failed) and reason. Raises ValueError for a trial
    that nothing can be trained with, StoreError when the store stays away, full or read-only or forbids it to this
    user, and RuntimeError, or the engine's own error, when processes keep dying.
    """
    trials, rows = list(dict.fromkeys(trials)), {}
    for trial in trials:
        check(trial)
    with at_work(len(trials)) as report:
        for trial, row in until_all_are_done(trials, split, n_jobs):
            rows[trial] = row
            report(trial, row)
    failed = sum(row["outcome"] == "failed" for row in rows.values())
    if failed:
        print(f"{failed} of {len(trials)} trials failed; the table says why.")
    return pd.DataFrame([{"model": trial.model, **trial.parameters, **rows[trial]} for trial in trials])


@contextmanager
def at_work(total: int) -> Iterator[Callable[[Trial, dict], None]]:
    """What holds while trials run: runs are closed whatever happens. Gives a function that shows a finished trial."""
    take_hold()
    try:
        with claims.stoppable(at_once=True), _progress(total) as report:
            yield report
    except StoreError:
        raise
    except BaseException:
        claims.close_dead_runs()  # of the processes that were stopped with this one, or died
        raise
    claims.close_dead_runs()


def until_all_are_done(
    trials: list[Trial], split: Split, n_jobs: int | None, watches: Mapping[Trial, Watch] | None = None
) -> Iterator[tuple[Trial, dict]]:
    """Each trial with its row, as they finish; again those whose process died, or that someone else was at work on.

    watches are told of the epochs of the trials that have one.
    """
    waiting, deaths = dict.fromkeys(trials), 0
    while waiting:
        left = len(waiting)
        try:
            for trial, row in _side_by_side(list(waiting), split, n_jobs, watches or {}):
                if row:
                    del waiting[trial]
                    yield trial, row
        except StoreError:
            raise
        except Exception as error:  # a process died, for which each engine has its own; a trial's comes as its row
            deaths = deaths + 1 if len(waiting) == left else 0
            if deaths == 3 and not isinstance(error, BrokenExecutor):
                raise
            if deaths == 3:
                raise RuntimeError("Three times a process died before it finished a trial; is memory short?") from error
        else:
            if len(waiting) == left:
                claims.wait()


def _side_by_side(
    trials: list[Trial], split: Split, n_jobs: int | None, watches: Mapping[Trial, Watch]
) -> Iterable[tuple[Trial, dict | None]]:
    workers = joblib.effective_n_jobs(n_jobs)
    cores = max(1, joblib.cpu_count() // workers)
    if workers > 1:
        _renew_workers()
    jobs = [joblib.delayed(_work)(trial, split, store_in_use(), cores, watches.get(trial)) for trial in trials]
    try:
        parallel = joblib.Parallel(n_jobs, batch_size=1, return_as="generator_unordered")
    except (TypeError, ValueError):  # an old joblib, or a backend, that gives all results at the end
        parallel = joblib.Parallel(n_jobs, batch_size=1)
    return parallel(jobs)


def _renew_workers() -> None:
    """End the workers that loky keeps for minutes where the environment, with the user's name, is another by now."""
    now = dict(os.environ)
    if _workers_see and _workers_see != now:
        get_reusable_executor(reuse=True).shutdown()
    _workers_see.clear()
    _workers_see.update(now)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Trial, dict], None]]:
    """A function that shows a finished trial: in a notebook as a step of a bar, elsewhere as a line."""
    shell = get_ipython()
    in_notebook = shell is not None and shell.has_trait("kernel")
    with tqdm(total=total, desc="trials", disable=not in_notebook) as bar:

        def report(trial: Trial, row: dict) -> None:
            bar.update()
            if not in_notebook:
                print(f"{trial}: {row['outcome']} {row['reason']}".strip(), flush=True)

        yield report


@contextmanager
def naming_the_part() -> Iterator[None]:
    """Raise StoreError, with the part that failed, where the store does at what is done inside and is not well again.

    Any other error is raised as it is.
    """
    try:
        yield
    except StoreError:
        raise
    except STORE_FAULTS as error:
        check_store(patience=0)
        check_upload(error)
        raise


@naming_the_part()
def run_trial(trial: Trial, split: Split, name: str = "") -> ModelVersion:
    """The registered version of a trial: found where it has finished before, otherwise trained, logged, registered.

    It is one of the registered model of that name, by default the trial's own. Raises ValueError for a trial that
    nothing can be trained with, StoreError when a part of the store fails, RuntimeError when someone else is at work on
    it for longer than a dead one could be.
    """
    check(trial)
    take_hold()
    name, deadline = name or trial.model, time.monotonic() + claims.DEAD_SECONDS + PATIENCE_SECONDS
    while (version := _find(trial, name) or _claim_and_train(trial, split, name)) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Another process is at work on {trial}; wait for it.")
        claims.wait()
    return version


def _work(trial: Trial, split: Split, store: str, cores: int, watch: Watch | None = None) -> tuple[Trial, dict | None]:
    """What a worker does: keep to its share of the cores, use the store, run the trial, and tell what became of it."""
    take_hold()  # of this process's own surroundings, should it be on another machine
    if watch:
        keras.use_cores(cores)
        keras.start_keras()  # at the first trial, for loky restarts a worker that grows by so much at a later one
    with claims.stoppable(at_once=False):
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                library_of(trial.architecture).use_cores(cores)
                if store_in_use() != store:
                    use_store(store)
                return trial, _find_or_train(trial, split, watch)
            except Pruned as given_up:
                return trial, {"version": None, "outcome": "pruned", "reason": str(given_up)}
            except StoreRefusalError:
                raise  # this user lacks a right, which no other attempt and no other trial would find
            except Exception as error:
                with claims.stoppable(at_once=True):
                    check_store(PATIENCE_SECONDS, BEHIND_SECONDS)
                if not attempts_left:
                    check_upload(error)  # no other trial would be taken
                if not attempts_left or not isinstance(error, STORE_FAULTS):
                    return trial, {"version": None, "outcome": "failed", "reason": claims.reason(error)}


def _find_or_train(trial: Trial, split: Split, watch: Watch | None) -> dict | None:
    found = _find(trial, trial.model)
    version = found or _claim_and_train(trial, split, trial.model, watch)
    return version and {"version": int(version.version), "outcome": "found" if found else "trained", "reason": ""}


def _find(trial: Trial, name: str) -> ModelVersion | None:
    claims.close_dead_runs(trial.experiment)  # one of them may have registered this trial and not come to close its run
    return registry.find_version(name, trial.key)


def _claim_and_train(trial: Trial, split: Split, name: str, watch: Watch | None = None) -> ModelVersion | None:
    run = claims.claim(
        trial.experiment, trial.key, trial.label, finished=lambda: registry.find_version(name, trial.key)
    )
    if run is None:
        return None
    with claims.held(run.info.run_id):
        records.log_parameters(run.info.run_id, trial.made_of)
        with claims.stoppable(at_once=True):
            fitted = library_of(trial.architecture).train(trial, split, watch=watch)
        return register_trained(run.info.run_id, trial, fitted, split, name)


def register_trained(run_id: str, trial: Trial, fitted: FittedModel, split: Split, name: str) -> ModelVersion:
    """Log a trained model to its trial's run with all that is known of it, load it back, and register it under a name.

    Registered last, so that a version never lacks any of the rest. Without validation games it is given no score.
    Raises RuntimeError as registry.check_reloaded.
    """
    tried = split.validation if len(split.validation) else split.train
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as beside:
        registry.save_model(fitted, Path(place) / "model", tried)
        sent = beside.submit(registry.log_folder, run_id, Path(place) / "model")
        score = _log_records(run_id, trial, fitted, split)  # meanwhile
        model_uri = sent.result()
    digest = registry.check_reloaded(model_uri, fitted, tried)
    claims.close_dead_runs(trial.experiment)  # once more: one may have registered it after it was looked for, and died
    tags = registry.version_tags(trial.key, digest, {**trial.made_of, **score})
    return registry.register(model_uri, name, tags)


def _log_records(run_id: str, trial: Trial, fitted: FittedModel, split: Split) -> dict[str, float]:
    """Log what a trial's run keeps but for the model, and give back its score, which it has with validation games."""
    games, curves = split.validation, fitted.curves
    records.log_games(run_id, split.train[[*fitted.columns, OUTCOME]], OUTCOME, trial.data)
    if curves is not None:
        records.log_losses(run_id, curves)
    if curves is not None and "validation" in curves:
        _log_figure(run_id, curves, trial.architecture)
    if games.empty:
        return {}
    predictions = fitted.predict(games)
    records.log_predictions(run_id, games[[*MATCHUP, OUTCOME]], predictions)
    score = brier_score(games[OUTCOME], predictions)
    mlflow.log_metric("val_brier", score, run_id=run_id)
    return {"val_brier": score}


def _log_figure(run_id: str, curves: pd.DataFrame, architecture: str) -> None:
    axes = plots.loss_curves(curves, architecture, Figure(figsize=(7.5, 3.8)).add_subplot())
    with rc_context({"svg.fonttype": "none"}):  # text as text: a third of the time of a PNG
        mlflow.MlflowClient().log_figure(run_id, axes.figure, "loss_curves.svg")
