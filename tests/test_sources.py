"""A source is made up, a folder, or Kaggle, and says what to do where it cannot be had."""

import sys
import types

import pandas as pd
import pytest

from helpers.simulate import simulate_games
from helpers.sources import load_games
from tests.conftest import write_csv


@pytest.fixture(scope="module")
def small():
    return simulate_games(seed=3, seasons=[2018, 2019])


@pytest.fixture
def folder(small, tmp_path):
    return write_csv(small, tmp_path / "games")


def test_made_up_games_are_made_from_the_seed(monkeypatch, small):
    monkeypatch.setattr("helpers.sources.simulate_games", lambda seed: simulate_games(seed, seasons=[2018, 2019]))
    pd.testing.assert_frame_equal(load_games("simulated", seed=3).regular, small.regular)


def test_anything_else_is_a_folder(folder, small):
    assert len(load_games(str(folder), seed=0).regular) == len(small.regular)
    with pytest.raises(FileNotFoundError, match="SOURCE: there is no folder kagle"):
        load_games("kagle", seed=0)


def test_kaggle_without_an_account_says_what_to_do(monkeypatch):
    def refuse(competition: str) -> str:
        raise PermissionError("401")

    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(competition_download=refuse))
    with pytest.raises(ConnectionError, match=r"accept the rules at https://www\.kaggle\.com.*token.*SOURCE"):
        load_games("kaggle", seed=0)


def test_kaggle_hands_out_a_folder(monkeypatch, folder, small):
    hand_out = types.SimpleNamespace(competition_download=lambda competition: str(folder))
    monkeypatch.setitem(sys.modules, "kagglehub", hand_out)
    assert len(load_games("kaggle", seed=0).regular) == len(small.regular)
