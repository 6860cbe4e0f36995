"""Before the seeds are out, notebook 04 forecasts the season that is coming, and says what it is about."""

import mlflow
import pandas as pd
import pytest

from helpers import features
from helpers.baselines import choose_features
from helpers.features import fingerprint, split_by_season
from helpers.games import Games
from helpers.registry import champion
from helpers.sweep import run_sweep
from helpers.trials import PRODUCT, make_trials
from tests.support.cells import run_cells, small_scale
from tests.test_bracket import NEWEST, without


def before_the_tournament(games: Games, *without_seeds: str) -> Games:
    games = without(games, "tourney", NEWEST, "M", "W")
    return without(games, "seeds", NEWEST, *without_seeds)


def run_from_02(store: str, games: Games, **parameters: object) -> dict[str, object]:
    """The names that notebook 04 leaves after 02 and 03."""
    with small_scale(games):
        split = split_by_season(features.matchup_table(games), 1, 2)
        chosen = choose_features(split.train, split.validation)
        run_sweep(make_trials([0.001, 0.01, 0.1], 2, 5, chosen, fingerprint(split))[:1], split)
        for number in ("02", "03"):
            run_cells(number, store)
        return run_cells("04", store, **parameters)


@pytest.mark.parametrize(
    ("without_seeds", "bracket", "leagues"), [("MW", NEWEST - 1, ["men", "women"]), ("W", NEWEST, ["men"])]
)
def test_the_file_is_for_the_coming_season_and_all_leagues(store, games, without_seeds, bracket, leagues):
    coming = before_the_tournament(games, *without_seeds)
    left = run_from_02(str(store), coming)
    assert (left["season"], [left["LEAGUES"][league] for league in left["brackets"]]) == (bracket, leagues)
    teams = coming.regular[coming.regular["Season"] == NEWEST].melt("League", ["WTeamID", "LTeamID"])
    number = teams.groupby("League")["value"].nunique()
    version = champion(fingerprint(left["split"]))
    kept = pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{version.run_id}/submission.csv"))
    assert kept["ID"].str.startswith(f"{NEWEST}_").all()
    assert len(kept) == (number * (number - 1) // 2).sum()
    told = left["contents"].to_numpy().tolist()
    rows = (number * (number - 1) // 2).to_dict()
    assert told == [[NEWEST, league, rows[league], league not in without_seeds] for league in "MW"]


def test_another_season_is_chosen_by_a_parameter(store, games):
    left = run_from_02(str(store), before_the_tournament(games, "M", "W"), SEASON=2017)
    assert (left["season"], set(left["pairs"]["Season"])) == (2017, {2017})
    assert mlflow.MlflowClient().get_model_version_by_alias(PRODUCT, "champion")
