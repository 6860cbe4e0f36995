"""What a sweep asks of a store: how many trials a second it takes, and what each leaves there."""

import re
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
import pandas as pd

from helpers.features import Split
from helpers.sweep import run_trial, until_all_are_done
from helpers.trials import Trial

MANY = 100_000  # trials, for what a large sweep would come to
# In a server's log; but for what goes by the clock, so that a slow machine counts no more: heartbeats, and MLflow's own
# looks at the server.
REQUEST = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE) /(?!health|\S*/(?:server-info|runs/set-tag) )')


def trials_per_second(split: Split, features: str, data: str, writers: Sequence[int], trials: int) -> dict[int, float]:
    """How many trials a second the store in use takes, by how many write into it at once.

    For each number of writers so many regressions are made that the store has not seen; their training takes some
    hundredths of a second, so the store's work is what is measured. Writers are threads of this process. One trial
    before them is not timed, for it loads libraries. Raises RuntimeError where a trial fails.
    """
    rates, penalties = {}, iter(np.geomspace(0.001, 1000, 1 + len(writers) * trials))
    run_trial(Trial("linear", {"C": float(next(penalties))}, 0, features, data), split)
    for number in writers:
        new = [Trial("linear", {"C": float(next(penalties))}, 0, features, data) for _ in range(trials)]
        start = perf_counter()
        with joblib.parallel_config("threading"):
            done = dict(until_all_are_done(new, split, number))
        failed = [row["reason"] for row in done.values() if row["outcome"] != "trained"]
        if failed:
            raise RuntimeError(f"{len(failed)} of {trials} trials were not registered; the first says: {failed[0]}")
        rates[number] = trials / (perf_counter() - start)
    return rates


def cost_of_a_trial(folder: Path, log: Path, trials: int) -> pd.DataFrame:
    """What one trial costs a server that keeps its files in a folder, and what MANY would: one row for each cost.

    The requests are counted in the server's log, from its start; the few before the first trial are among them, and
    heartbeats are not: how many there are depends on how long a trial takes. They are whole, for writers that meet ask
    once more.
    """
    files = [file for file in (folder / "artifacts").rglob("*") if file.is_file()]
    requests = sum(bool(REQUEST.search(line)) for line in log.read_text().splitlines())
    costs = {
        "requests": round(requests / trials),
        "files": len(files) / trials,
        "MB of files": sum(file.stat().st_size for file in files) / 1e6 / trials,
    }
    table = pd.DataFrame({"one trial": costs})
    return table.assign(**{f"{MANY:,} trials": MANY * table["one trial"]})
