"""What the topics share: the notebooks' default games and trials, a store, a stopwatch, and the printed table."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import joblib
import mlflow
import pandas as pd

from helpers.baselines import choose_features
from helpers.features import Split, fingerprint, matchup_table, split_by_season
from helpers.games import Games
from helpers.sources import load_games
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from helpers.trials import Trial, make_trials
from tests.support.work import SPLIT, trials

SEED = 2024
Result = TypeVar("Result")


@cache
def default_games() -> Games:
    return load_games("simulated", SEED)


@cache
def default_split() -> Split:
    return split_by_season(matchup_table(default_games()), validation_seasons=3, test_seasons=3)


def nine_trials(epochs: int, seed: int = SEED) -> list[Trial]:
    """Three architectures with three learning rates each."""
    split = default_split()
    return make_trials(
        [0.001, 0.01, 0.1], epochs, seed, choose_features(split.train, split.validation), fingerprint(split)
    )


@contextmanager
def empty_store() -> Iterator[Path]:
    """A store in a temporary folder, in use for the block; its registry is open, too, for the first look opens it."""
    with tempfile.TemporaryDirectory() as folder:
        use_store(folder)
        mlflow.search_registered_models(max_results=1)
        yield Path(folder).resolve()


def warm_up() -> None:
    """Run a small trial on other games, for the imports and the like that only the first one of a process pays for."""
    with empty_store():
        run_trial(trials()[0], SPLIT)


def measure(work: Callable[[], Result]) -> tuple[float, Result]:
    """The seconds that the work takes, and what it gives."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def run(trials: list[Trial]) -> float:
    """The seconds of a sweep, every trial of which must be trained; its progress goes to stderr, past the tables."""
    with redirect_stdout(sys.stderr):
        seconds, table = measure(lambda: run_sweep(trials, default_split()))
    if set(table["outcome"]) != {"trained"}:
        raise RuntimeError(f"Not every trial was trained:\n{table.to_string()}")
    return seconds


@contextmanager
def timed(owner: object, name: str) -> Iterator[list[float]]:
    """A list that gets the seconds of every call of owner's function while the block runs."""
    function, taken = getattr(owner, name), []

    def stopped(*arguments: Any, **named: Any) -> Any:
        seconds, result = measure(lambda: function(*arguments, **named))
        taken.append(seconds)
        return result

    with patch.object(owner, name, stopped):
        yield taken


def show(heading: str, table: pd.DataFrame) -> None:
    """Print a table; its heading tells the cores, for no ratio means anything without them."""
    print(f"\n{heading} ({joblib.cpu_count()} cores)\n")
    print(table.to_string(index=False, float_format=lambda x: f"{x:,.0f}" if x >= 100 else f"{x:.3g}"), flush=True)


def check(conditions: dict[str, bool]) -> None:
    """Print what is expected of the numbers, a line each, and whether it holds."""
    for condition, holds in conditions.items():
        print(f"{condition:<70} {'holds' if holds else 'DOES NOT HOLD'}", flush=True)
