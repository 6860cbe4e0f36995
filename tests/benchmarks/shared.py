"""What a trial costs beside its training on a team's server, in a folder's time."""

import tempfile
from pathlib import Path

import pandas as pd

from helpers.models import keras
from helpers.stores.store import use_store
from helpers.team import TeamServer
from helpers.tools.share import share
from tests.benchmarks.common import check, empty_store, nine_trials, run, show, timed, warm_up
from tests.support.team import open_folder

EPOCHS, ROUNDS, WANTED = 2, 5, 2
FOLDER, TEAM = "a folder", "a server on PostgreSQL and S3"


def shared() -> None:
    """Nine trials into each store in turn, several times over, so that other load meets all three alike."""
    warm_up()
    with (
        empty_store() as folder,
        tempfile.TemporaryDirectory() as files,
        TeamServer(Path(files)) as server,
        open_folder() as parts,
        share(parts) as team,
    ):
        stores = {FOLDER: str(folder), "a server on SQLite and files": server.url, TEAM: team.url}
        rounds = [{name: _cost(store, seed) for name, store in stores.items()} for seed in range(ROUNDS + 1)]
    costs = pd.DataFrame(rounds[1:]).median()  # the first round pays for graphs and connections
    ratios = pd.DataFrame(rounds[1:]).div([row[FOLDER] for row in rounds[1:]], axis=0).median()
    table = pd.DataFrame({"store": costs.index, "not training/trial": costs, "ratio to a folder": ratios})
    show(f"shared: nine trials of {EPOCHS} epochs, {ROUNDS} times, medians", table)
    check({f"on PostgreSQL and S3 it is less than {WANTED} times a folder's": ratios[TEAM] < WANTED})


def _cost(store: str, seed: int) -> float:
    """The seconds that a trial takes beside its training."""
    use_store(store)
    trials = nine_trials(EPOCHS, seed)
    with timed(keras, "train") as training:
        seconds = run(trials)
    return (seconds - sum(training)) / len(trials)
