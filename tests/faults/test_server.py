"""A tracking server whose answers get lost, that stops for a while, for good, or was never there."""

import socket
import time
from collections import Counter

import mlflow
import pytest

from helpers import candidates
from helpers.child import free_ports
from helpers.stores import StoreError
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.support.names import EXPERIMENTS
from tests.support.process import Work, start
from tests.support.server import Proxy, running_server
from tests.support.work import SPLIT, trials, whole

HEARTBEAT = "POST /api/2.0/mlflow/runs/set-tag"


@pytest.fixture
def server(tmp_path):
    with running_server(tmp_path) as running:
        yield running


def start_sweep(url: str) -> Work:
    """The small sweep as a process, when its second trial has begun."""
    process = start(url, "nine")
    assert ": trained" in process.readline()
    return process


@pytest.mark.parametrize(
    ("cut", "unknown"),
    [(True, None), (False, None), (True, "/logged-models")],
    ids=["cut connection", "503", "cut connection, models among the artifacts"],
)
def test_an_answer_that_is_lost_doubles_nothing(server, cut, unknown):
    proxy = Proxy(server)
    proxy.cut, proxy.unknown = cut, unknown
    proxy.lose = "POST /api/2.0/mlflow/experiments/create"
    use_store(proxy.url)
    assert proxy.lose is None
    first, second, *others = trials(10)
    run_sweep([first], SPLIT)  # a process's first trial asks for more than the others
    proxy.kinds.clear()
    run_sweep([second], SPLIT)
    kinds = [kind for kind in proxy.kinds if kind != HEARTBEAT]  # a busy machine's trials beat, others have no time to
    assert len(kinds) > 12
    for count, (kind, trial) in enumerate(zip(kinds, others, strict=False), start=3):
        proxy.lose = kind
        outcomes = run_sweep([trial], SPLIT)
        assert proxy.lose is None, f"{kind} was not made again"
        assert outcomes["outcome"].tolist() == ["trained"], f"{kind}: {outcomes['reason'][0]}"
        assert len(mlflow.search_model_versions()) == count, kind
    whole(proxy.url, len(kinds) + 2)
    assert Counter(e.name for e in mlflow.search_experiments()) == Counter([*EXPERIMENTS, "Default"])
    assert len(candidates.leaderboard("made-up")) == len(kinds) + 2


def test_a_server_that_is_away_for_twenty_seconds_loses_nothing(server):
    proxy = Proxy(server)
    with running_server(server.folder) as standby:  # running already: a start takes as long as a busy machine likes
        process = start_sweep(proxy.url)
        server.kill()
        time.sleep(20)
        proxy.server_port_behind = standby.port
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output.count(": trained") + output.count(": found") == 8
        whole(proxy.url)


def test_a_server_that_stays_away_is_named_within_half_a_minute(server):
    process = start_sweep(server.url)
    server.kill()
    since = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - since < 30
    assert f"StoreError: The store {server.url} does not answer" in errors.splitlines()[-1]


def test_a_server_that_was_never_there_is_named_within_five_seconds(monkeypatch):
    url, start = f"http://127.0.0.1:{free_ports(1)[0]}", time.monotonic()
    with pytest.raises(StoreError, match=f"The store {url} does not answer; start its server"):
        use_store(url)
    assert time.monotonic() - start < 5


def test_a_server_that_never_says_a_word_is_named_within_half_a_minute():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url, start = f"http://127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        with pytest.raises(StoreError, match=f"The store {url} does not answer; start its server"):
            use_store(url)
        assert time.monotonic() - start < 30
