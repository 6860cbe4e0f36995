"""A notebook that lacks what an earlier one makes says which one to run."""

from pathlib import Path

import pytest

from helpers.features import fingerprint, matchup_table, split_by_season
from helpers.sources import load_games
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.tools import execute
from helpers.trials import Trial
from tests.test_notebooks import PATHS


@pytest.mark.parametrize("number", ["02", "03"])
def test_a_notebook_says_so_when_the_one_before_has_not_run(tmp_path, monkeypatch, number):
    check_stops(tmp_path, monkeypatch, number, "no candidates for these games: run the notebook before this one first")


def test_selecting_says_so_when_only_one_architecture_is_there(tmp_path, monkeypatch):
    use_store(str(tmp_path / "store"))
    split = split_by_season(matchup_table(load_games("simulated", 2024)), 3, 3)
    run_trial(Trial("small", {"learning_rate": 0.01, "epochs": 1}, 2024, "strong", fingerprint(split)), split)
    check_stops(tmp_path, monkeypatch, "03", "Run 02_sweep_several_models on this STORE first")


def test_the_last_notebook_says_so_when_there_is_no_champion(tmp_path, monkeypatch):
    check_stops(tmp_path, monkeypatch, "04", "no champion: run 03_select_the_best first")


def check_stops(tmp_path: Path, monkeypatch, number: str, sentence: str) -> None:
    (path,) = [path for path in PATHS if path.stem.startswith(number)]
    (tmp_path / "notebooks" / "images").mkdir(parents=True)
    (tmp_path / "notebooks" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path / "notebooks")
    with pytest.raises(RuntimeError, match=sentence):
        execute.execute_notebooks(tmp_path / "build", {"STORE": str(tmp_path / "store")})
