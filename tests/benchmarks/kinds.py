"""What a trial of each kind of model costs, and what a guided search costs beside its trials."""

import sys
from contextlib import ExitStack, redirect_stdout
from importlib.util import find_spec

import pandas as pd

from helpers import search
from helpers.search import Recipe, random_trials, run_search
from helpers.sweep import run_sweep
from helpers.trials import Trial
from tests.benchmarks.common import SEED, check, default_split, empty_store, measure, nine_trials, show, timed, warm_up

EACH, SEARCHED, BESIDE_SECONDS = 10, 15, 0.1
NETWORK = {"learning_rate": 0.001, "epochs": 100, "weight_decay": 3.0}
MADE_OF = {"linear": {"C": 0.1}, "small": NETWORK, "large": NETWORK, "torch": NETWORK}


def kinds() -> None:
    """Trials a minute, one after the other, when imports and graphs are paid for."""
    warm_up()
    like, rows = nine_trials(epochs=100)[0], []
    for kind, parameters in MADE_OF.items():
        if kind == "torch" and not find_spec("torch"):
            continue
        first, *rest = [Trial(kind, parameters, seed, like.features, like.data) for seed in range(EACH + 1)]
        with empty_store():
            _run([first])
            seconds = _run(rest)
        rows.append({"kind": kind, "seconds/trial": seconds / EACH, "trials/minute": 60 * EACH / seconds})
    show(f"kinds: {EACH} trials of each kind, trained, checked and registered", pd.DataFrame(rows))


def _run(trials: list[Trial]) -> float:
    with redirect_stdout(sys.stderr):
        return measure(lambda: run_sweep(trials, default_split()))[0]


def searching() -> None:
    """A guided search beside as many random draws, and its time that is not spent in trials."""
    warm_up()
    like = nine_trials(epochs=100)[0]
    recipe = Recipe(100, SEED, like.features, like.data)
    with empty_store(), redirect_stdout(sys.stderr), ExitStack() as stack:
        spent = [stack.enter_context(timed(search, name)) for name in ("study_of", "_ask", "deepcopy", "_tell")]
        guided, became = measure(lambda: run_search(SEARCHED, recipe, default_split()))
    with empty_store():
        drawn = _run(random_trials(SEARCHED, recipe))
    beside = sum(map(sum, spent)) / len(became)
    rows = [["guided", guided, len(became), beside], ["random", drawn, SEARCHED, 0.0]]
    table = pd.DataFrame(rows, columns=["way", "seconds", "tried", "beside the trials, seconds/trial"])
    show(f"searching: until {SEARCHED} trials have a version", table)
    check({f"a search takes under {BESIDE_SECONDS} s a trial beside its trials": beside < BESIDE_SECONDS})
