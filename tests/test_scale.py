"""What a sweep asks of a store is counted where the store itself counts it."""

import re

import pytest

from helpers import registry, scale
from helpers.scale import cost_of_a_trial, trials_per_second
from helpers.stores.store import use_store
from helpers.trials import model_name
from tests.support.server import running_server
from tests.support.work import SPLIT

BEAT = "/api/2.0/mlflow/runs/set-tag"  # a heartbeat


def test_each_number_of_writers_registers_its_own_trials(store):
    use_store(str(store))
    rates = trials_per_second(SPLIT, "strong", "made-up", writers=(1, 2), trials=2)
    assert list(rates) == [1, 2]
    assert min(rates.values()) > 0
    versions = registry.search_versions(f"name = '{model_name('linear')}'")
    assert len({version.tags["trial"] for version in versions}) == 1 + 4


def test_trials_that_fail_give_no_rate(store, monkeypatch):
    use_store(str(store))
    honest, calls = registry.log_folder, []

    def fails_after_the_first(*args):
        calls.append(args)
        return honest(*args) if len(calls) == 1 else 1 / 0

    monkeypatch.setattr(registry, "log_folder", fails_after_the_first)
    with pytest.raises(RuntimeError, match="2 of 2 trials were not registered; the first says: ZeroDivisionError"):
        trials_per_second(SPLIT, "strong", "made-up", writers=(1,), trials=2)


def test_the_requests_are_those_of_the_log_and_the_files_those_of_the_server(tmp_path):
    with running_server(tmp_path) as server:
        use_store(server.url)
        trials_per_second(SPLIT, "strong", "made-up", writers=(1,), trials=2)
    said = (tmp_path / "log").read_text()
    asked = re.findall(r'"[A-Z]+ (/\S+) HTTP', said)
    assert any("model-versions/create" in path for path in asked)
    with (tmp_path / "log").open("a") as log:
        log.write(f'INFO: 127.0.0.1:1 - "POST {BEAT} HTTP/1.1" 200 OK\n')
    cost = cost_of_a_trial(tmp_path, tmp_path / "log", trials=3)
    by_the_clock = {"/health", "/api/3.0/mlflow/server-info", BEAT}
    assert cost["one trial"]["requests"] == round(sum(path not in by_the_clock for path in asked) / 3)
    files = [file for file in (tmp_path / "artifacts").rglob("*") if file.is_file()]
    assert cost["one trial"]["files"] == len(files) / 3
    assert cost["one trial"]["MB of files"] == pytest.approx(sum(file.stat().st_size for file in files) / 3e6)
    assert cost[f"{scale.MANY:,} trials"].tolist() == pytest.approx((100_000 * cost["one trial"]).tolist())
