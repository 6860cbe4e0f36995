"""What a trial costs as a store fills: a thousand real ones into a folder, and as many by a server."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from helpers.candidates import best_version, leaderboard
from helpers.stores.store import use_store
from helpers.team import TeamServer
from helpers.trials import Trial
from tests.benchmarks.common import check, empty_store, measure, nine_trials, run, show, warm_up

TRIALS, BLOCK, FLAT = 1000, 100, 1.1


def thousand() -> None:
    """Regressions, whose training takes some hundredths of a second, so that the store's part is what is measured."""
    warm_up()
    with empty_store() as folder:
        blocks, ends = {"folder": _blocks()}, [_end("folder", folder)]
    with tempfile.TemporaryDirectory() as folder, TeamServer(Path(folder)) as server:
        use_store(server.url)
        blocks["server"] = _blocks()
        ends.append(_end("server", Path(folder)))
    table = pd.concat(blocks, axis=1)
    table.columns = [", ".join(names) for names in table]
    table.insert(0, "trials", [f"{last - BLOCK + 1}-{last}" for last in range(BLOCK, TRIALS + 1, BLOCK)])
    show(f"thousand: what a trial costs, by block of {BLOCK}", table)
    show(f"thousand: what {TRIALS:,} trials leave, and the choice among them", pd.DataFrame(ends))
    for place, costs in blocks.items():
        growth = costs["CPU seconds"].iloc[-1] / costs["CPU seconds"].iloc[0]
        check({f"{place}: the last {BLOCK} take at most {FLAT - 1:.0%} more CPU than the first": growth <= FLAT})


def _blocks() -> pd.DataFrame:
    """Seconds of a trial and of its CPU, a row for each block; one trial before them pays for what is loaded once."""
    like = nine_trials(epochs=1)[0]
    trials = [
        Trial("linear", {"C": float(C)}, 0, like.features, like.data) for C in np.geomspace(1e-3, 1e3, TRIALS + 1)
    ]
    run([trials.pop()])
    rows, steps = [], TRIALS // BLOCK
    for first in range(steps):
        before = _cpu_seconds()
        seconds = run(trials[first::steps])  # every block has small penalties and large ones, which take longer
        rows.append({"seconds": seconds / BLOCK, "CPU seconds": (_cpu_seconds() - before) / BLOCK})
    return pd.DataFrame(rows)


def _cpu_seconds() -> float:
    """What this process has taken, and the server that it started: other people's load leaves it as it is."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


def _end(place: str, folder: Path) -> dict[str, object]:
    data, kept = nine_trials(epochs=1)[0].data, TRIALS + 1
    files = [file for file in (folder / "artifacts").rglob("*") if file.is_file()]
    sizes = {"database": (folder / "mlflow.db").stat().st_size, "files": sum(file.stat().st_size for file in files)}
    row = {"store": place, **{f"{name}, kB/trial": size / kept / 1000 for name, size in sizes.items()}}
    row |= {"files/trial": len(files) / kept, "leaderboard, seconds": measure(lambda: leaderboard(data))[0]}
    return row | {"best_version, seconds": measure(lambda: best_version(data))[0]}
