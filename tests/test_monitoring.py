"""What luck explains is no alarm, and what moved is one."""

from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, ks_2samp, kstwo

from helpers import records
from helpers.features import FEATURE_SETS, OUTCOME, matchup_table, team_features
from helpers.models.sklearn import fit_logistic
from helpers.monitoring import LEVEL, drift, season_scores
from helpers.trials import experiment_name

BEFORE, AFTER = [2015, 2016, 2017], [2018, 2019, 2020]


@pytest.fixture(scope="module")
def teams(games):
    return team_features(games)


@pytest.fixture(scope="module")
def table(games):
    return matchup_table(games)


@pytest.fixture(scope="module")
def unseen(table):
    """The games of the seasons after the training, each with the chance that a regression gives Team1."""
    train, columns = table[table["Season"].isin(BEFORE)], FEATURE_SETS["strong"]
    model = fit_logistic(train[columns], train[OUTCOME], C=0.03)
    games = table[table["Season"].isin(AFTER)]
    return games.assign(Prediction=model.predict_proba(games[columns])[:, 1])


def moved(teams: pd.DataFrame, season: int, change) -> pd.DataFrame:
    """The teams, with a season's rows changed."""
    rows = teams.index.get_level_values("Season") == season
    return pd.concat([teams[~rows], change(teams[rows])]).sort_index()


def alarms(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(table.loc[table["alarm"], ["League", "feature"]].itertuples(index=False, name=None))


def test_a_season_has_its_score_and_the_range_of_luck(unseen):
    scores = season_scores(unseen["Prediction"], unseen, seed=1)
    assert scores[["Season", "League"]].to_numpy().tolist() == [[s, league] for s in AFTER for league in "MW"]
    one = unseen[(unseen["Season"] == 2018) & (unseen["League"] == "M")]
    chance = one["Prediction"]
    row = scores.iloc[0]
    assert row["games"] == len(one)
    assert row["brier"] == pytest.approx(((chance - one[OUTCOME]) ** 2).mean())
    assert row["expected"] == pytest.approx((chance * (1 - chance)).mean())
    assert not scores["alarm"].any()


def test_the_range_holds_what_it_says_where_that_can_be_counted():
    """Of 30 games with a chance of 0.9, the score is 0.01, and 0.8 / 30 more for each that is lost."""
    lost = {n: pd.DataFrame({"League": "M", "Season": 2020, OUTCOME: [0] * n + [1] * (30 - n)}) for n in (9, 10)}
    scores = {n: season_scores(np.full(30, 0.9), games, seed=1).iloc[0] for n, games in lost.items()}
    ends = 0.01 + 0.8 / 30 * binom(30, 0.1).ppf([0.0005, 0.9995])
    assert scores[9][["low", "high"]].tolist() == pytest.approx(ends)
    assert [scores[9]["alarm"], scores[10]["alarm"]] == [False, True]


def test_favourites_that_lose_are_seen_and_those_that_always_win_are_no_alarm(unseen):
    chance, games = unseen["Prediction"], unseen
    coin = np.random.default_rng(3).integers(0, 2, len(games))
    assert season_scores(chance, games.assign(**{OUTCOME: coin}), seed=1)["alarm"].all()
    better = season_scores(chance, games.assign(**{OUTCOME: (chance > 0.5).astype(int)}), seed=1)
    assert (better["brier"] < better["low"]).all()
    assert not better["alarm"].any()


def test_a_season_is_judged_alone(unseen):
    late = unseen[unseen["Season"] == 2020]
    whole = season_scores(unseen["Prediction"], unseen, seed=1)
    assert whole[whole["Season"] == 2020].reset_index(drop=True).equals(season_scores(late["Prediction"], late, seed=1))


def test_seasons_that_are_fine_ring_nothing(teams):
    found = drift(teams, AFTER, BEFORE)
    assert alarms(found) == set()
    assert not found["feature"].str.endswith("_women").any()
    assert found.groupby(["Season", "League"])["feature"].nunique().eq(24).all()


def test_the_numbers_are_those_of_scipys_test_and_the_limit_belongs_to_them(teams):
    found = drift(teams, [2018], BEFORE).set_index(["League", "feature"])
    one, other = (teams.loc[("W", years, slice(None)), "Margin"] for years in ([2018], BEFORE))
    test = ks_2samp(one, other, method="asymp")
    row = found.loc[("W", "Margin")]
    assert (row["statistic"], row["p"]) == (test.statistic, test.pvalue)
    assert (row["before"], row["now"]) == pytest.approx((other.mean(), one.mean()), abs=1e-9)
    size = round(len(one) * len(other) / (len(one) + len(other)))
    assert kstwo(size).sf(row["limit"]) * len(found) == pytest.approx(LEVEL, rel=0.01)


def test_a_league_that_scores_two_points_more_is_seen_though_no_margin_moves(games, teams):
    regular = games.regular.copy()
    late = regular["Season"] == 2018
    regular.loc[late, ["WFGM", "LFGM"]] += 1
    regular.loc[late, ["WScore", "LScore"]] += 2
    changed = team_features(replace(games, regular=regular))
    assert changed["Margin"].equals(teams["Margin"])
    found = alarms(drift(changed, [2018], BEFORE))
    assert found
    assert {feature for _, feature in found} <= {"FGM", "FGM_against"}
    assert {league for league, _ in found} == {"M", "W"}


@pytest.mark.parametrize(("feature", "factor"), [("FGM", 1 / 40), ("Elo", 0.1), ("CarriedElo", 1 / 400), ("Stl", 0.0)])
def test_a_column_in_other_units_is_seen_and_named(teams, feature, factor):
    changed = moved(teams, 2019, lambda rows: rows.assign(**{feature: rows[feature] * factor}))
    found = drift(changed, AFTER, BEFORE)
    assert alarms(found) == {("M", feature), ("W", feature)}
    assert set(found.loc[found["alarm"], "Season"]) == {2019}


def test_what_the_model_has_learned_from_is_no_alarm(teams):
    """A season as far from the rest as one that was trained on; it was an alarm before."""
    more = dict.fromkeys(["FGM", "FGM_against"], 1.5)
    changed = moved(teams, 2019, lambda rows: rows.assign(**{name: rows[name] + n for name, n in more.items()}))
    again = moved(changed, 2020, lambda rows: rows.assign(**{name: rows[name] + n for name, n in more.items()}))
    assert alarms(drift(again, [2020], BEFORE))
    assert alarms(drift(again, [2020], [*BEFORE, 2018, 2019])) == set()


def test_a_league_that_began_later_is_left_out_where_there_is_nothing_to_compare(teams):
    late = teams.drop(index=[("W", season) for season in BEFORE])
    assert set(drift(late, [2018], BEFORE)["League"]) == {"M"}
    with pytest.raises(ValueError, match=r"No league has teams in one of \[2031\] and in one of \[2015, 2016, 2017\]"):
        drift(teams, [2031], BEFORE)
    with pytest.raises(ValueError, match="2017 is among the seasons before"):
        drift(teams, [2017, 2018], BEFORE)


def a_run() -> str:
    home = mlflow.get_experiment_by_name(experiment_name("linear"))
    return mlflow.MlflowClient().create_run(home.experiment_id).info.run_id


def test_a_champions_run_keeps_what_was_watched_once(store, unseen, teams):
    scores, drifts = season_scores(unseen["Prediction"], unseen, seed=1), drift(teams, AFTER, BEFORE)
    client, run_id = mlflow.MlflowClient(), a_run()
    early = scores["Season"] < 2020
    for _ in range(2):
        records.log_watched(run_id, scores[early], drifts[drifts["Season"] < 2020])
    for _ in range(2):
        records.log_watched(run_id, scores, drifts)
    men, rung = (client.get_metric_history(run_id, name) for name in ("season_brier_men", "drift_alarms"))
    assert {m.step: m.value for m in men} == scores[scores["League"] == "M"].set_index("Season")["brier"].to_dict()
    assert [len(men), len(rung)] == [3, 3]
    assert set(client.get_run(run_id).data.metrics) == {
        "drift_alarms",
        *(f"season_brier_{league}{end}" for league in ("men", "women") for end in ("", "_high")),
    }
    kept = {
        name: pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/watched/{name}.csv"))
        for name in ("scores", "drifts")
    }
    pd.testing.assert_frame_equal(kept["scores"], scores)
    pd.testing.assert_frame_equal(kept["drifts"], drifts)


def test_another_score_for_a_season_is_the_newest_one(store, unseen, teams):
    scores, drifts = season_scores(unseen["Prediction"], unseen, seed=1), drift(teams, [2020], BEFORE)
    run_id = a_run()
    for value in (0.2, 0.3):
        records.log_watched(run_id, scores.assign(brier=value), drifts)
    assert mlflow.get_run(run_id).data.metrics["season_brier_men"] == 0.3
