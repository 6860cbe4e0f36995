"""Walk-forward: each season from those before it, never a test season, and once."""

import mlflow
import numpy as np
import pandas as pd
import pytest

from helpers import forward, records, registry
from helpers.features import MATCHUP, OUTCOME, Split, fingerprint
from helpers.forward import forward_predictions, forward_splits, walk_forward
from helpers.models import keras
from helpers.scoring import brier_score, mean_interval
from helpers.stores.store import use_store

FILE = "forward_predictions.csv"


def seasons(table: pd.DataFrame) -> set[int]:
    return set(table["Season"])


def test_each_season_is_predicted_from_those_before_it(split):
    cuts = forward_splits(split)
    assert [seasons(cut.test) for cut in cuts] == [{2017}, {2018}, {2019}][-len(cuts) :]
    for cut in cuts:
        assert max(seasons(cut.train)) < min(seasons(cut.validation))
        assert max(seasons(cut.validation)) < min(seasons(cut.test))
        assert len(seasons(cut.validation)) == split.validation["Season"].nunique()
    assert not seasons(split.test) & set.union(*(seasons(part) for cut in cuts for part in vars(cut).values()))


def test_a_league_takes_part_when_it_has_two_seasons_to_train_on(split):
    late = split.train[(split.train["League"] == "M") | (split.train["Season"] > 2015)]
    cuts = {cut.test["Season"].iloc[0]: cut for cut in forward_splits(Split(late, split.validation, split.test))}
    assert {season: set(cut.test["League"]) for season, cut in cuts.items()} == {2018: {"M"}, 2019: {"M", "W"}}
    assert set(cuts[2018].validation["League"]) == {"M"}


def test_too_few_seasons_are_refused(split):
    short = split.train[split.train["Season"] > 2017]
    with pytest.raises(ValueError, match="2 seasons before the test seasons are too few; 4 make one"):
        forward_splits(Split(short, split.validation, split.test))


def test_the_predictions_are_those_of_models_that_saw_nothing_later(split, trial):
    """A later season that is turned upside down changes nothing before it."""
    turned = split.validation.assign(**{OUTCOME: 1 - split.validation[OUTCOME]})
    honest, other = (
        forward_predictions(trial, Split(split.train, last, split.test)) for last in (split.validation, turned)
    )
    before = honest["Season"] < honest["Season"].max()
    assert (honest["Prediction"] == other["Prediction"]).all()
    assert honest[before].equals(other[before])


def test_what_is_kept_is_found_and_not_made_again(version, split, monkeypatch):
    made = walk_forward(version, split, seed=1)
    monkeypatch.setattr(keras, "train", None)
    assert walk_forward(version, split, seed=1).equals(made)
    run = mlflow.get_run(version.run_id)
    errors = (made["Prediction"] - made[OUTCOME]) ** 2
    assert run.data.metrics["forward_brier"] == pytest.approx(brier_score(made[OUTCOME], made["Prediction"]))
    ends = run.data.metrics["forward_brier_low"], run.data.metrics["forward_brier_high"]
    assert ends == pytest.approx(mean_interval(errors, 1))
    tags = mlflow.MlflowClient().get_model_version(version.name, version.version).tags
    assert float(tags["forward_brier"]) == pytest.approx(errors.mean(), abs=1e-6)
    assert list(made) == [*MATCHUP, OUTCOME, "Prediction"]
    assert registry.counts(mlflow.MlflowClient().get_model_version(version.name, version.version))


def test_what_was_kept_for_other_seasons_is_made_again(version, split, monkeypatch):
    monkeypatch.setattr(forward, "MOST", 1)
    few = walk_forward(version, split, seed=1)
    monkeypatch.undo()
    assert len(few) < len(walk_forward(version, split, seed=1))
    assert mlflow.get_run(version.run_id).data.metrics["forward_brier"] != pytest.approx(
        brier_score(few[OUTCOME], few["Prediction"])
    )


def test_a_walk_through_other_games_leaves_that_through_its_own_as_it_was(version, split):
    own = walk_forward(version, split, seed=1)
    earlier = Split(split.train[split.train["Season"] > 2015], split.validation, split.test)
    other = walk_forward(version, earlier, seed=1)
    assert len(other) < len(own)
    assert forward.kept_walk(version.run_id, split).equals(own)
    assert forward.kept_walk(version.run_id, earlier).equals(other)
    metrics = mlflow.get_run(version.run_id).data.metrics
    assert metrics["forward_brier"] == pytest.approx(brier_score(own[OUTCOME], own["Prediction"]))
    name = f"forward_brier_{fingerprint(earlier)}"
    assert metrics[name] == pytest.approx(brier_score(other[OUTCOME], other["Prediction"]))


def test_a_version_that_another_process_scored_half_is_scored_whole(used, trial, split, monkeypatch):
    use_store(str(used))
    version = registry.find_version(trial.model, trial.key)
    kept = walk_forward(version, split, seed=1)
    run_id = version.run_id
    mlflow.MlflowClient().log_text(run_id, "half", FILE)
    honest = mlflow.get_run

    def without_score(run_id):
        run = honest(run_id)
        run.data.metrics.pop("forward_brier", None)
        return run

    monkeypatch.setattr(mlflow, "get_run", without_score)
    assert np.allclose(walk_forward(version, split, seed=1)["Prediction"], kept["Prediction"], atol=1e-6)
    assert len(records.load_predictions(run_id, FILE)) == len(kept)
