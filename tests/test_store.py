"""Where a store is, what a server that refuses is said to refuse, and experiments that somebody changed."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import mlflow
import pytest

from helpers import run, serve, store
from helpers.store import CANDIDATES, DEFAULT_STORE, NOTEBOOKS, StoreError, StoreRefusalError, check_store, use_store
from helpers.sweep import run_sweep
from tests.conftest import ROOT
from tests.faults.work import SPLIT, trials, whole

# What a server answers


class Answers(http.server.ThreadingHTTPServer):
    """A server with one answer for everybody: a status, a text, and further headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answer: tuple[int, str, dict[str, str]] = (200, "{}", {})
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, text, headers = self.server.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = reply  # noqa: N815  http.server asks for these names


@pytest.fixture
def server() -> Iterator[Answers]:
    with Answers() as server:
        yield server
        server.shutdown()


def error(code: str, message: str) -> str:
    return f'{{"error_code": "{code}", "message": "{message}"}}'


REFUSALS = {
    "401": (
        (401, "who?", {}),
        r"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.*who\?",
    ),
    "401 of MLflow": ((401, error("UNAUTHENTICATED", "bad token"), {}), "MLFLOW_TRACKING_TOKEN.*bad token"),
    "403": ((403, "no", {}), "does not let this user in: ask for the right"),
    "403 of MLflow": ((403, error("PERMISSION_DENIED", "no"), {}), "does not let this user in: ask for the right"),
    "a foreign name": ((403, "Invalid Host header", {}), "--allowed-hosts"),
    "404": ((404, "<html>Not here</html>", {}), "no MLflow server, or lies under another path: .* 'Not here'"),
    "404 of MLflow": ((404, error("ENDPOINT_NOT_FOUND", "no"), {}), "no MLflow server, or lies under another path"),
    "a proxy": ((407, "", {}), "proxy: add its host to NO_PROXY"),
    "upgrade required": (
        (426, "Upgrade Required", {}),
        f"another version of the client, which is mlflow {mlflow.__version__}",
    ),
    "a sign-in page": ((200, "<html>Sign in</html>", {}), "a page instead of data, as a sign-in page.*'Sign in'"),
    "a redirect to one": ((302, "", {"Location": "/login"}), "a page instead of data, as a sign-in page"),
    "a workspace": ((400, error("INVALID_PARAMETER_VALUE", "Workspace x unknown"), {}), "MLFLOW_WORKSPACE"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_server_that_refuses_is_quoted_at_once_with_what_helps(server, case):
    server.answer, sentence = REFUSALS[case]
    for ask in (lambda: use_store(server.url), lambda: check_store(patience=30)):
        start = time.monotonic()
        with pytest.raises(StoreRefusalError, match=rf"^The store {server.url} [^\n]*{sentence}[^\n]*\.$"):
            ask()
        assert time.monotonic() - start < 10, "it waited for what waiting cannot heal"


def test_a_refusal_in_the_midst_of_a_sweep_ends_it_at_once(store, server, monkeypatch):
    """As when a password expires."""
    server.answer = (401, "expired", {})

    def train(*arguments):
        mlflow.set_tracking_uri(server.url)
        mlflow.search_experiments()

    monkeypatch.setattr("helpers.networks.train", train)
    start = time.monotonic()
    with pytest.raises(StoreRefusalError, match=r"MLFLOW_TRACKING_TOKEN.*expired"):
        run_sweep(trials()[:1], SPLIT)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_ill_is_quoted_and_waited_for(server, status):
    server.answer = (status, "ill", {})
    with pytest.raises(StoreError, match=f"answers with error {status}; see its log, or wait") as raised:
        use_store(server.url)
    assert not isinstance(raised.value, StoreRefusalError)
    start = time.monotonic()
    with pytest.raises(StoreError):
        check_store(patience=2)
    assert time.monotonic() - start >= 2


def test_the_wrong_scheme_is_said_to_be_one(server):
    with pytest.raises(StoreRefusalError, match="begin STORE with http:// or https://"):
        use_store(server.url.replace("http", "https"))


@pytest.mark.parametrize("host", ["proxy", "workspace-credentials", "ssl"])
def test_a_word_in_its_address_is_no_reason(host):
    with pytest.raises(StoreError, match="does not answer; start its server") as raised:
        use_store(f"http://{host}.invalid:1/workspace")
    assert not isinstance(raised.value, StoreRefusalError)


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(StoreRefusalError, match="cannot be reached through the proxy: add its host to NO_PROXY"):
        use_store("http://mlflow.example:5000")


# What a STORE is


@pytest.mark.parametrize(
    "place", ["127.0.0.1:5000", "localhost:5000/mlflow", "'http://127.0.0.1:5000'", '"sqlite:///a"']
)
def test_an_address_without_a_scheme_or_in_quotes_is_no_folder(place):
    before = set(NOTEBOOKS.iterdir())
    with pytest.raises(ValueError, match="is neither a folder nor an address such as http://127"):
        use_store(place)
    assert set(NOTEBOOKS.iterdir()) == before


ADDRESSES = ["http://a", "https://a/b", "sqlite:///a.db", "databricks", "databricks-uc", "databricks://profile"]
ADDRESSES += [
    "postgresql+psycopg://me@host/db",
    "arn:aws:sagemaker:eu:1:mlflow-tracking-server/x",
    "uc:x",
    "sds://x/v1",
]
FOLDERS = ["../store", "a folder/with a space", "databricks-test", "it's", "sqlite", "C:\\store", "ä"]


def test_one_rule_tells_addresses_from_folders():
    assert [place for place in ADDRESSES if not store.is_address(place)] == []
    assert [place for place in FOLDERS if store.is_address(place)] == []


def test_the_artifacts_of_a_database_by_its_address_lie_beside_it(tmp_path, monkeypatch):
    """MLflow would put them into the folder that a notebook runs in."""
    monkeypatch.chdir(tmp_path)
    use_store(f" sqlite:///{tmp_path / 'some' / 'where.db'}\n")
    assert run_sweep(trials()[:1], SPLIT)["outcome"].tolist() == ["trained"]
    whole(f"sqlite:///{tmp_path / 'some' / 'where.db'}", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"some"}
    assert {path.name for path in (tmp_path / "some").iterdir()} >= {"where.db", "artifacts"}


def test_a_database_that_was_filled_with_artifacts_elsewhere_stays_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'old.db'}"
    client = mlflow.MlflowClient(uri)
    for name in CANDIDATES:
        client.create_experiment(name, (tmp_path / "mlruns" / name).as_uri())
    use_store(uri)
    assert run_sweep(trials()[:1], SPLIT)["outcome"].tolist() == ["trained"]
    whole(uri, 1)


# Experiments that somebody changed


def command_of(sentence: str) -> str:
    return re.search(r"with: (.*)", sentence)[1]


@pytest.mark.parametrize("deed", ["delete", "rename"])
def test_an_experiment_that_is_gone_is_brought_back_by_the_command_in_the_sentence(store, deed):
    run_sweep(trials()[:1], SPLIT)
    client, experiment = mlflow.MlflowClient(), mlflow.get_experiment_by_name(CANDIDATES[0])
    if deed == "delete":
        client.delete_experiment(experiment.experiment_id)
    else:
        client.rename_experiment(experiment.experiment_id, "it's mine")
    with pytest.raises(
        StoreError, match=f"The experiment {CANDIDATES[0]} of this STORE (was deleted|is called)"
    ) as raised:
        use_store(str(store))
    subprocess.run(command_of(str(raised.value)), shell=True, check=True, capture_output=True)
    use_store(str(store))
    assert run_sweep(trials()[:1], SPLIT)["outcome"].tolist() == ["found"]
    whole(str(store), 1)


def test_an_experiment_of_somebody_elses_is_not_filled(tmp_path):
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.MlflowClient(database).create_experiment(CANDIDATES[1], (tmp_path / "elsewhere").as_uri())
    with pytest.raises(StoreError, match=f"The experiment {CANDIDATES[1]} of this STORE was made by somebody else"):
        use_store(str(tmp_path))


@pytest.mark.parametrize("revision", ["0000000000aa", "451aebb31d03"])
def test_a_database_of_another_mlflow_is_said_to_be_one(store, revision):
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    copy = store.parent / "copy"  # which MLflow has not opened yet
    store.rename(copy)
    with pytest.raises(StoreError, match=r"was made by another MLflow than .*: install that one, or, .* db upgrade"):
        use_store(str(copy))


# What make makes of STORE


PYTHON = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done
"""
SPACED = "a folder/with a space, it's $HOME"


@pytest.fixture
def make(tmp_path):
    """What a target of make calls Python with, a word a line."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "ready").touch()

    def call(*words: str) -> list[str]:
        done = subprocess.run(["make", "-s", *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return call


def test_make_hands_on_values_with_spaces_and_quotes(make):
    escaped = SPACED.replace("$", "$$")
    words = make("run", f"STORE={escaped}", "LEARNING_RATES=[0.1, 0.2]", "PYTHON=python3", "PORT=1")
    assert words[:2] == ["-m", "helpers.run"]
    assert sorted(words[2:]) == ["LEARNING_RATES=[0.1, 0.2]", f"STORE={SPACED}"]


def test_make_hands_on_nothing_that_was_not_given(make, monkeypatch):
    monkeypatch.setenv("SEED", "5")
    assert make("run") == ["-m", "helpers.run"]
    assert (make("ui"), make("lab")) == (["-m", "helpers.serve", "ui"], ["-m", "helpers.serve", "lab"])


def test_every_target_of_make_takes_the_same_store_from_command_line_and_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for place in ("a b", str(tmp_path / "c d"), "http://127.0.0.1:5000"):
        monkeypatch.setenv("STORE", place)
        assert serve.chosen_store() == run.read_parameters([f"STORE={place}"])["STORE"]


def test_the_store_that_jupyterlab_was_started_with_is_the_notebooks_default(store, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, check: use_store(DEFAULT_STORE))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    serve.serve_lab(str(store))
    assert mlflow.get_tracking_uri() == f"sqlite:///{store / 'mlflow.db'}"
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.mark.parametrize("place", ["", "gone/with a space"])
def test_the_pages_of_a_store_that_is_not_there_are_not_served(tmp_path, place):
    folder = str(tmp_path / place)
    with pytest.raises(
        FileNotFoundError, match=r"There is no store at .* yet; make run fills one, STORE names another"
    ):
        serve.serve_pages(folder, "0")
    assert list(tmp_path.iterdir()) == []


def test_the_pages_are_those_of_the_store_that_was_named(store, tmp_path):
    spaced = tmp_path / "a folder" / "with a space"
    spaced.parent.mkdir()
    store.rename(spaced)
    assert (
        serve.database_of(str(spaced))
        == serve.database_of(f"sqlite:///{spaced}/mlflow.db")
        == f"sqlite:///{spaced}/mlflow.db"
    )
    with pytest.raises(ValueError, match="is a server: open its own pages"):
        serve.database_of("http://127.0.0.1:5000")
