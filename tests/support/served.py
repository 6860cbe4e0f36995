"""Two models behind HTTP: their files, requests to them, and a process that serves one and can be killed."""

import json
import sys
from pathlib import Path
from threading import Event

import pandas as pd
import requests

from helpers import registry
from helpers.features import FEATURE_SETS
from helpers.serving import Service
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial
from tests.support.work import SPLIT

COLUMNS = FEATURE_SETS["strong"]
GAMES = SPLIT.test[COLUMNS].reset_index(drop=True)


def two_models(place: Path) -> list[tuple[Path, pd.Series]]:
    """The folders of two regressions, and what each answers in this process about GAMES."""
    use_store(str(place / "store"))
    both = []
    for C in (0.001, 1.0):
        version = run_trial(Trial("linear", {"C": C}, 1, "strong", "made-up"), SPLIT)
        folder = registry.fetch(version, str(place / f"C {C}"))
        both.append((folder, registry.load_folder(folder).predict(GAMES)))
    return both


def ask(url: str, table: pd.DataFrame) -> requests.Response:
    body = json.dumps({"dataframe_split": {"columns": list(table), "data": table.to_numpy().tolist()}})
    return requests.post(f"{url}/invocations", data=body, headers={"Content-Type": "application/json"}, timeout=60)


def one_game(url: str, row: int) -> tuple[int, float]:
    """A game by its row, and the answer to it. Raises AssertionError for any other answer than a probability."""
    reply = ask(url, GAMES.iloc[[row]])
    assert reply.status_code == 200, reply.text
    return row, reply.json()["predictions"][0]["0"]


def ask_until(enough: Event, url: str, first: int) -> list[tuple[int, float]]:
    """What a client is answered that asks about one game after another until it is enough."""
    answers = []
    while not enough.is_set():
        answers.append(one_game(url, (first + len(answers)) % len(GAMES)))
    return answers


if __name__ == "__main__":
    service = Service()
    service.serve(Path(sys.argv[1]))
    print(service.url, service.process_id, flush=True)
    sys.stdin.read()
