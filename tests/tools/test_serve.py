"""What make makes of STORE, and what it serves."""

import os
import shutil
import subprocess

import mlflow
import pytest

from helpers.stores.place import DEFAULT_STORE
from helpers.stores.store import use_store
from helpers.tools import execute, serve
from tests.conftest import ROOT

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
    assert words[:2] == ["-m", "helpers.tools.execute"]
    assert sorted(words[2:]) == ["LEARNING_RATES=[0.1, 0.2]", f"STORE={SPACED}"]


def test_make_hands_on_nothing_that_was_not_given(make, monkeypatch):
    monkeypatch.setenv("SEED", "5")
    assert make("run") == ["-m", "helpers.tools.execute"]
    assert (make("ui"), make("lab")) == (["-m", "helpers.tools.serve", "ui"], ["-m", "helpers.tools.serve", "lab"])


def test_every_target_of_make_takes_the_same_store_from_command_line_and_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for store in ("a b", str(tmp_path / "c d"), "http://127.0.0.1:5000"):
        monkeypatch.setenv("STORE", store)
        assert serve.chosen_store() == execute.read_parameters([f"STORE={store}"])["STORE"]


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
        serve.address_of(str(spaced))
        == serve.address_of(f"sqlite:///{spaced}/mlflow.db")
        == f"sqlite:///{spaced}/mlflow.db"
    )
    with pytest.raises(ValueError, match="is a server: open its own pages"):
        serve.address_of("http://127.0.0.1:5000")
