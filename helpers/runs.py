"""The run of a trial: it claims the trial, a heartbeat shows that it lives, it is closed, numbers are kept in it."""

from __future__ import annotations

import io
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import mlflow
import numpy as np
import pandas as pd
import psutil
from mlflow.entities import Metric, Run

from helpers.store import CANDIDATES, plain

PREDICTIONS = "validation_predictions.csv"
BEAT_SECONDS = 5
DEAD_SECONDS = 30  # without a beat, for a run of another machine; clocks should agree to a few seconds

_claimed: set[str] = set()  # the runs that this process is at work on


def claim(experiment: str, trial: str, name: str) -> mlflow.ActiveRun | None:
    """A new run, now the active one, that holds a trial; or None if another living run holds it.

    Of two that come at the same moment, the one that started first keeps the trial. heartbeat gives it up. Raises
    LookupError when there is no such experiment.
    """
    home = mlflow.get_experiment_by_name(experiment)
    if home is None:
        raise LookupError(f"This STORE has no experiment {experiment!r}, so no trial can run in it.")
    if living_runs(home.experiment_id, trial):
        return None
    tags = {"trial": trial, "owner": _owner(), "heartbeat": f"{time.time():.0f}"}
    run = mlflow.start_run(experiment_id=home.experiment_id, run_name=name, tags=tags, nested=True)
    _claimed.add(run.info.run_id)
    try:
        first = living_runs(home.experiment_id, trial)[0]
    except BaseException:
        _give_up(run)
        raise
    if first == run.info.run_id:
        return run
    _give_up(run)
    mlflow.delete_run(run.info.run_id)
    return None


def _give_up(run: mlflow.ActiveRun) -> None:
    _claimed.discard(run.info.run_id)
    mlflow.end_run("KILLED")


@contextmanager
def heartbeat(run_id: str) -> Iterator[None]:
    """Renew a run's tag every few seconds, until the work inside is done and the claim is given up."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with suppress(Exception):  # a beat that is lost does no harm; the trial's own calls will tell
                mlflow.MlflowClient().set_tag(run_id, "heartbeat", f"{time.time():.0f}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _claimed.discard(run_id)


def living_runs(experiment_id: str, trial: str) -> list[str]:
    """The ids of an experiment's living runs that hold a trial, the first one first."""
    runs = mlflow.search_runs(
        experiment_ids=[experiment_id],
        filter_string=f"attributes.status = 'RUNNING' and tags.trial = '{plain(trial)}'",
        output_format="list",
    )
    runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
    return [run.info.run_id for run in runs if _lives(run)]


def close_dead_runs() -> None:
    """Close the candidates' runs whose process is gone: as FINISHED if their version was registered, else KILLED."""
    client = mlflow.MlflowClient()
    for run in mlflow.search_runs(
        experiment_names=CANDIDATES, filter_string="attributes.status = 'RUNNING'", output_format="list"
    ):
        if "trial" in run.data.tags and not _lives(run):
            registered = client.search_model_versions(f"run_id = '{run.info.run_id}'")
            if not registered:
                client.set_tag(run.info.run_id, "reason", "its process ended without closing it")
            client.set_terminated(run.info.run_id, "FINISHED" if registered else "KILLED")


def _lives(run: Run) -> bool:
    machine, _, process = run.data.tags.get("owner", "").partition(" ")
    if machine != platform.node():
        beat = float(run.data.tags.get("heartbeat", run.info.start_time / 1000))
        return time.time() - beat < DEAD_SECONDS
    if process == _owner().partition(" ")[2]:
        return run.info.run_id in _claimed
    pid, born = process.split(" ")
    try:
        found = psutil.Process(int(pid))
        return abs(found.create_time() - float(born)) < 2 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _owner() -> str:
    """Machine, process, and when that was born, for the number of a dead process is given to another one."""
    return f"{platform.node()} {os.getpid()} {psutil.Process().create_time():.0f}"


@contextmanager
def stoppable(at_once: bool) -> Iterator[None]:
    """SIGTERM ends the work inside like Ctrl-C, by an exception, so that its run is closed.

    The exception comes at once or when the work is done: a request to the store that is torn apart may hang or be
    left half done. It comes at the end, too, if something swallowed the first one, as a finalizer does. Blocks may be
    nested; the innermost decides.
    """
    ends = {signal.SIGTERM: SystemExit(143), signal.SIGINT: KeyboardInterrupt()}
    told: list[BaseException] = []

    def stop(number: int, _: object) -> None:
        told.append(ends[number])
        if at_once:
            raise ends[number]

    if threading.current_thread() is not threading.main_thread():  # where Python lets no handler be set
        ends.clear()
    before = {number: signal.signal(number, stop) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise told[0]


def log_games(games: pd.DataFrame, outcome: str, digest: str) -> None:
    """Log to the active run what it was trained on: the columns, their kinds, and the data's fingerprint."""
    games = games.astype(float)  # MLflow warns of integer columns, which could not hold a missing value
    mlflow.log_input(mlflow.data.from_pandas(games, name="games", targets=outcome, digest=digest), "training")


def log_losses(curves: pd.DataFrame) -> None:
    """Log loss curves to the active run in one request: a column a metric (<column>_loss), an epoch a row."""
    now = int(time.time() * 1000)
    points = [
        Metric(f"{name}_loss", float(loss), now, epoch)
        for name, curve in curves.items()
        for epoch, loss in curve.items()
    ]
    mlflow.MlflowClient().log_batch(mlflow.active_run().info.run_id, metrics=points)


def load_losses(run_id: str) -> pd.DataFrame:
    """The loss curves that log_losses kept for a run: columns train and validation, indexed by epoch."""
    client = mlflow.MlflowClient()
    names = ("train", "validation")
    histories = {name: client.get_metric_history(run_id, f"{name}_loss") for name in names}
    return pd.DataFrame({name: pd.Series({m.step: m.value for m in history}) for name, history in histories.items()})


def log_predictions(games: pd.DataFrame, predictions: np.ndarray) -> None:
    """Keep a candidate's predictions, a game a row, as an artifact of the active run."""
    mlflow.log_text(games.assign(Prediction=predictions).to_csv(index=False), PREDICTIONS)


def load_predictions(run_id: str) -> pd.DataFrame:
    """What log_predictions kept for a run."""
    return pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"runs:/{run_id}/{PREDICTIONS}")))
