"""Who holds a trial: its run claims it, a heartbeat shows that it lives, and it is closed whatever happens."""

import os
import platform
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import mlflow
import psutil
from mlflow.entities import Run
from mlflow.tracking.context.registry import resolve_tags

from helpers.models.fitted import Pruned
from helpers.stores.server import needing
from helpers.trials import experiment_names, plain

BEAT_SECONDS = 5
DEAD_SECONDS = 30  # of ours without a new beat, for a run of another machine, whose clock may be wrong

CLAIM = {"trial": "[A-Za-z0-9-]+", "owner": r".+ \d+ \d+", "heartbeat": r"\d+(\.\d+)?"}  # a claim's tags, as patterns

_claimed: set[str] = set()  # the runs that this process is at work on
_making = threading.Lock()  # held until a new run is among them, for another thread may see it before
_heard: dict[str, tuple[str, float]] = {}  # another machine's runs: the last beat, and when it was new to us


def claim(experiment: str, trial: str, name: str, finished: Callable[[], object] = lambda: None) -> Run | None:
    """A new run that holds a trial; or None if another living run holds it, or it is finished by now.

    Of two that come at the same moment, each that sees the other gives way, for no clock could tell who was first: wait
    and come again. held gives the trial up. The run is made by the client: mlflow.start_run would go on with the run
    of MLFLOW_RUN_ID, whoever's it is. Raises LookupError when there is no such experiment.
    """
    home, client = mlflow.get_experiment_by_name(experiment), mlflow.MlflowClient()
    if home is None or home.lifecycle_stage != "active":
        raise LookupError(f"This STORE has no experiment {experiment!r}, so no trial can run in it.")
    if living_runs(home.experiment_id, trial):
        return None
    tags = {"trial": trial, "owner": _owner(), "heartbeat": f"{time.time():.0f}"}
    with needing(f"EDIT on the experiment {experiment}"), _making:
        run = client.create_run(home.experiment_id, tags=resolve_tags(tags), run_name=name)
        run_id = run.info.run_id
        _claimed.add(run_id)
    try:
        ours = living_runs(home.experiment_id, trial) == [run_id] and not finished()
    except BaseException:
        _give_up(run_id)
        raise
    if ours:
        return run
    _give_up(run_id)
    client.delete_run(run_id)
    return None


def wait() -> None:
    """Give others time, half a second to one and a half: by chance and by no seed, or two would meet at every turn."""
    time.sleep(random.SystemRandom().uniform(0.5, 1.5))


def _give_up(run_id: str) -> None:
    _claimed.discard(run_id)
    mlflow.MlflowClient().set_terminated(run_id, "KILLED")


@contextmanager
def held(run_id: str) -> Iterator[None]:
    """Keep a claim alive while the work inside is done, then close its run: as FINISHED, or else with the reason.

    That is KILLED where it was given up on purpose, and FAILED otherwise.
    """
    client = mlflow.MlflowClient()
    with heartbeat(run_id):
        try:
            yield
        except BaseException as error:
            client.set_tag(run_id, "reason", reason(error))
            client.set_terminated(run_id, "KILLED" if isinstance(error, Pruned) else "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")


def reason(error: BaseException) -> str:
    """An error in at most 500 characters, as it is kept in a tag and shown in a table."""
    return f"{type(error).__name__}: {error}"[:500]


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
    """The ids of an experiment's living runs that hold a trial: one, or for a moment more."""
    runs = mlflow.search_runs(
        experiment_ids=[experiment_id],
        filter_string=f"attributes.status = 'RUNNING' and tags.trial = '{plain(trial)}'",
        output_format="list",
    )
    return [run.info.run_id for run in runs if _is_a_claim(run) and _lives(run)]


def close_dead_runs(experiment: str = "") -> None:
    """Close the candidates' runs whose process is gone: as FINISHED if their version was registered, else KILLED.

    Of one experiment, or of all; a server is asked for each by its name.
    """
    client, names = mlflow.MlflowClient(), [experiment] if experiment else experiment_names()
    for run in mlflow.search_runs(
        experiment_names=names, filter_string="attributes.status = 'RUNNING'", output_format="list"
    ):
        if _is_a_claim(run) and not _lives(run) and _still_runs(run):
            registered = client.search_model_versions(f"run_id = '{run.info.run_id}'")
            if not registered:
                client.set_tag(run.info.run_id, "reason", "its process ended without closing it")
            client.set_terminated(run.info.run_id, "FINISHED" if registered else "KILLED")


def _still_runs(run: Run) -> bool:
    """Whether a run has not been closed by its own process since it was found."""
    return mlflow.get_run(run.info.run_id).info.status == "RUNNING"


def _is_a_claim(run: Run) -> bool:
    """Whether a run has the tags of a claim, as claim wrote them; any other run is somebody else's business."""
    tags = run.data.tags
    return all(re.fullmatch(pattern, tags.get(name, "")) for name, pattern in CLAIM.items())


def _lives(run: Run) -> bool:
    machine, process, born = run.data.tags["owner"].rsplit(" ", 2)
    if machine != platform.node():
        return _beats(run)
    if f"{machine} {process} {born}" == _owner():
        with _making:
            return run.info.run_id in _claimed
    try:
        found = psutil.Process(int(process))
        return abs(found.create_time() - float(born)) < 2 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _beats(run: Run) -> bool:
    """Whether a run's heartbeat has changed within DEAD_SECONDS of our own clock; one that is new to us has."""
    beat, now = run.data.tags["heartbeat"], time.monotonic()
    if _heard.get(run.info.run_id, ("", 0))[0] != beat:
        _heard[run.info.run_id] = beat, now
    return now - _heard[run.info.run_id][1] < DEAD_SECONDS


def _owner() -> str:
    """Machine, process, and when that was born, because another process may get the number of a dead one."""
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
