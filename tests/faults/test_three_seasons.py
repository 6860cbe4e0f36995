"""Three years of a registry: each spring new files and the same notebooks, twice, and a story that reads right."""

from dataclasses import replace

import mlflow
import pandas as pd
import pytest

from helpers import features, promotion, registry
from helpers.baselines import choose_features
from helpers.features import fingerprint, split_by_season
from helpers.games import Games
from helpers.simulate import simulate_games
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from helpers.trials import make_trials, product_name
from tests.support.cells import PARAMETERS, run_cells, small_scale
from tests.support.contents import contents

YEARS = (2018, 2019, 2020)


def until(games: Games, year: int) -> Games:
    dated = {name: table for name, table in vars(games).items() if "Season" in table}
    return replace(games, **{name: table[table["Season"] <= year] for name, table in dated.items()})


def first_trial() -> None:
    """What notebook 01 leaves."""
    split = split_by_season(features.matchup_table(None), 1, 1)
    chosen = choose_features(split.train, split.validation)
    run_sweep(make_trials([0.001], 2, PARAMETERS["SEED"], chosen, fingerprint(split))[:1], split)


@pytest.fixture(scope="module")
def springs(tmp_path_factory) -> list[tuple[dict, dict, dict[str, object]]]:
    """For each year what the store holds after the notebooks, after a second time, and the names that 06 left."""
    both, store, years = simulate_games(5, range(2011, 2021)), str(tmp_path_factory.mktemp("years") / "store"), []
    games = Games(**{name: table[table["League"] == "W"].reset_index(drop=True) for name, table in vars(both).items()})
    for year in YEARS:
        twice = []
        with small_scale(until(games, year)):
            use_store(store)
            for _ in range(2):
                first_trial()
                for number in ("02", "03", "04", "05"):
                    run_cells(number, store, TEST_SEASONS=1, TRIALS=2)
                left = run_cells("06", store, TEST_SEASONS=1, MARGIN=0.1)
                twice.append(contents(store))
        years.append((*twice, left))
    return years


def test_a_second_time_adds_nothing_in_any_year(springs):
    assert [first == second for first, second, _ in springs] == [True] * len(YEARS)


def test_the_champion_of_the_gate_is_renewed_each_spring_and_met_by_a_challenger(springs):
    moves = springs[-1][1]["moves"]
    hows = [how for *_, how in moves]
    assert hows[:4] == ["by hand", "gate", "forced", "rolled back"]
    rest = [how for how in hows[4:] if how != "gate"]
    assert rest == ["renewed"] * (len(YEARS) - 1)
    assert [move[0] for move in moves[1:]] == [move[1] for move in moves[:-1]]  # each begins where the last one ended
    for *_, left in springs:
        assert left["decision"].numbers["games"] > 0
        is_same = left["decision"].against == str(left["challenger"].version)
        assert is_same == (left["decision"].reason == "it is the champion itself")


def test_every_year_has_its_champion_its_own_candidates_and_its_forecast(springs):
    fingerprints = [left["data"] for *_, left in springs]
    assert len(set(fingerprints)) == len(YEARS)
    history = promotion.history()
    for year, data, (held, _, left) in zip(YEARS, fingerprints, springs, strict=True):
        champion = Client().get_model_version(product_name(), str(held["aliases"]["champion"]))
        assert registry.trial_of(champion).data == data
        assert set(left["forecast"]["ID"].str[:4]) == {str(year)}
        assert left["finished"]["Season"].max() == year - 1
    renewals = history[history["how"] == "renewed"]
    assert renewals["season"].tolist() == list(YEARS[1:])
    assert renewals["season_brier"].between(0.05, 0.4).all()


def test_who_was_champion_in_each_spring_is_still_known(springs):
    history = promotion.history()
    for move in history.itertuples():
        assert promotion.champion_at(move.when)["to"] == move.to
    assert promotion.moved_by_hand() == ""
    assert pd.Series(history["when"]).is_monotonic_increasing
    assert len(mlflow.search_runs(experiment_names=["march-madness-promotions"])) == len(history)
