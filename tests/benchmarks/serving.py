"""What a request to a served network costs, by our pyfunc and by MLflow's own for Keras, beside asking in process."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import Model

from helpers import registry
from helpers.serving import Service
from helpers.sweep import run_trial
from tests.benchmarks.common import check, default_split, empty_store, measure, nine_trials, show, warm_up
from tests.support.served import ask

REQUESTS, BATCH, WARM = 300, 65_000, 20
PLAIN = "served, mlflow.tensorflow's pyfunc"


def serving() -> None:
    """One game from one and from eight clients, and a batch, each answer compared with the one in process."""
    warm_up()
    with empty_store(), tempfile.TemporaryDirectory() as place:
        version = run_trial(nine_trials(epochs=2)[0], default_split())
        ours = registry.fetch(version, place)
        network = registry.load_folder(ours)
        games = default_split().test[network.columns].reset_index(drop=True)
        pyfunc = mlflow.pyfunc.load_model(str(ours))
        in_process = [measure(lambda row=row: pyfunc.predict(games.iloc[[row]]))[0] for row in range(len(games))]
        rows, wrong = [_row("in process", "one", in_process[WARM:])], 0
        for way, folder in {
            "served, mlflow.tensorflow's pyfunc": _as_mlflow_does(ours, Path(place)),
            "served": ours,
        }.items():
            with Service() as service:
                service.serve(folder)
                for clients in (1, 8):
                    seconds, total, apart = _ask_singly(service.url, games, network.predict(games), clients)
                    rows.append(_row(way, f"one, {clients} clients", seconds, total))
                    wrong += int(apart > network.tolerance(games))
                rows.append(_row(way, f"{BATCH} in one", [_ask_batch(service.url, games)]))
    table = pd.DataFrame(rows)
    show(f"serving: {REQUESTS} requests with varied rows, after {WARM} others", table)
    by = table.set_index(["way", "games"])["p50 ms"]
    ratio = by["served", "one, 1 clients"] / by[PLAIN, "one, 1 clients"]
    check(
        {
            "every answer is the one in process": wrong == 0,
            f"a request takes at most a quarter of what MLflow's own takes ({ratio:.2f})": ratio <= 0.25,
        }
    )


def _as_mlflow_does(folder: Path, place: Path) -> Path:
    """The same network, asked by the pyfunc of MLflow's flavour for Keras."""
    copy = Path(mlflow.artifacts.download_artifacts(str(folder), dst_path=str(place / "mlflow")))
    model = Model.load(str(copy))
    model.flavors["python_function"].update(loader_module="mlflow.tensorflow", code=None)
    model.save(str(copy / "MLmodel"))
    return copy


def _post(url: str, table: pd.DataFrame) -> np.ndarray:
    return np.array([row["0"] for row in ask(url, table).json()["predictions"]])


def _ask_singly(url: str, games: pd.DataFrame, expected: np.ndarray, clients: int) -> tuple[list[float], float, float]:
    """The seconds of each request and of all, and how far any answer is from the expected one."""

    def one(number: int) -> tuple[float, float]:
        row = number % len(games)
        seconds, answers = measure(lambda: _post(url, games.iloc[[row]]))
        return seconds, abs(answers[0] - expected[row])

    for number in range(WARM):
        one(number)
    with ThreadPoolExecutor(clients) as pool:
        total, results = measure(lambda: list(pool.map(one, range(REQUESTS))))
    seconds, apart = zip(*results, strict=True)
    return list(seconds), total, max(apart)


def _ask_batch(url: str, games: pd.DataFrame) -> float:
    many = games.iloc[np.arange(BATCH) % len(games)]
    return measure(lambda: _post(url, many))[0]


def _row(way: str, games: str, seconds: list[float], total: float | None = None) -> dict[str, object]:
    p50, p99 = 1000 * np.percentile(seconds, [50, 99])
    rate = len(seconds) / (total or sum(seconds))
    return {"way": way, "games": games, "p50 ms": p50, "p99 ms": p99, "requests/s": rate}
