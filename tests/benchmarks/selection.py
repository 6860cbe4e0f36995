"""The choice of the best among 10,000 versions of all libraries, and the version of one trial among them."""

from unittest.mock import patch

import mlflow
import pandas as pd

from helpers import candidates, registry
from helpers.stores import hosted
from helpers.stores.store import use_store
from tests.benchmarks.common import check, measure, show
from tests.benchmarks.plain import lowest_score
from tests.support.fill import full_store
from tests.support.server import running_server

VERSIONS, REPEATS = 10_000, 3


def selection() -> None:
    """The three ways on the store itself, and through a server in front of it; finding, with a filter and without."""
    with full_store(VERSIONS) as store:
        rows, found = [_three_ways("local")], [_find("local")]
        with running_server(store) as server:
            use_store(server.url)
            rows.append(_three_ways("server"))
            found.append(_find("server"))
    show(f"selection: seconds to find a trial among {VERSIONS:,} versions", pd.DataFrame(found))
    table = pd.DataFrame(rows)
    for way in ("best_version", "leaderboard"):
        table[f"loop/{way}"] = table["plain loop"] / table[way]
    heading = f"selection: seconds for the best of {VERSIONS:,} versions, best of {REPEATS}, the loop once"
    show(heading, table.drop(columns=["rows", "agree"]))
    local, remote = table.to_dict("records")
    check(
        {
            "local best_version takes less than 1 s": local["best_version"] < 1,
            "local leaderboard takes less than 3 s": local["leaderboard"] < 3,
            "by the server the loop takes at least 20 times best_version": remote["loop/best_version"] >= 20,
            f"each leaderboard has {VERSIONS:,} rows": set(table["rows"]) == {VERSIONS},
            "all choose the same version": table["agree"].all(),
        }
    )


def _find(place: str) -> dict[str, object]:
    """The version of a trial, by the store's filter for tags, and as where a service filters by names alone."""
    board = candidates.leaderboard("d")
    name, trial = board.loc[0, ["model", "trial"]]
    filtered, version = measure(lambda: registry.find_version(name, trial))
    lacking = {(mlflow.get_tracking_uri(), "filters by tags")}
    with patch.object(hosted, "_lacking", lacking):
        by_name, same = measure(lambda: registry.find_version(name, trial))
    return {"store": place, "by tag": filtered, "by name alone": by_name, "agree": version.version == same.version}


def _three_ways(place: str) -> dict[str, object]:
    best = [measure(lambda: candidates.best_version("d")) for _ in range(REPEATS)]
    boards = [measure(lambda: candidates.leaderboard("d")) for _ in range(REPEATS)]
    loop, (_, *lowest) = measure(lowest_score)
    version, board = best[0][1], boards[0][1]
    agree = [version.name, int(version.version)] == board.loc[0, ["model", "version"]].tolist() == lowest
    seconds = {"best_version": min(s for s, _ in best), "leaderboard": min(s for s, _ in boards), "plain loop": loop}
    return {"store": place, **seconds, "rows": len(board), "agree": agree}
