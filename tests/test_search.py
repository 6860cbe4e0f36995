"""A guided search: as many versions as trials, found and not trained again, whatever came between."""

from collections import Counter
from dataclasses import replace

import mlflow
import numpy as np
import pytest
from optuna.trial import TrialState

from helpers import registry, search
from helpers.candidates import leaderboard
from helpers.features import Split
from helpers.models import keras
from helpers.search import STARTUP, Recipe, importances, random_trials, run_search, study_of
from helpers.sweep import run_sweep
from helpers.trials import ARCHITECTURES, Trial, experiment_names
from tests.support.work import SPLIT

RECIPE = Recipe(epochs=4, seed=3, features="strong", data="made-up")


def versions() -> list[str]:
    try:
        return leaderboard("made-up")["trial"].tolist()
    except LookupError:
        return []


def statuses() -> Counter:
    return Counter(mlflow.search_runs(experiment_names=experiment_names())["status"])


def test_it_ends_with_as_many_versions_as_trials_and_adds_none_the_second_time(store):
    first = run_search(6, RECIPE, SPLIT)
    assert (first["outcome"] != "failed").all()
    held = versions()
    assert len(held) == len(set(held)) == 6
    assert run_search(6, RECIPE, SPLIT).empty
    assert versions() == held
    assert len(run_search(7, RECIPE, SPLIT).query("outcome == 'trained'")) == 1
    assert set(statuses()) <= {"FINISHED", "KILLED"}


def test_the_study_is_what_the_store_knows(store):
    run_search(6, RECIPE, SPLIT)
    study = study_of(RECIPE)
    board = leaderboard("made-up").set_index("trial")
    done = study.get_trials(states=[TrialState.COMPLETE])
    assert {trial.user_attrs["trial"]: trial.value for trial in done} == board["val_brier"].to_dict()
    for trial in done:
        row = board.loc[trial.user_attrs["trial"]]
        assert trial.params == {name: row[name] for name in trial.params}
        assert bool(trial.intermediate_values) == (row["architecture"] in ARCHITECTURES)
    assert study.best_value == board["val_brier"].min()


def test_it_learns_from_nothing_that_is_not_its_own(store):
    others = [Trial("linear", {"C": 0.1}, 3, "strong", "made-up"), *random_trials(6, RECIPE)[STARTUP:]]
    plain = Trial("small", {"learning_rate": 0.01, "epochs": 4}, 3, "strong", "made-up")
    elsewhere = replace(plain, data="other")
    run_sweep([*others, plain, elsewhere, replace(others[0], seed=4)], SPLIT)
    assert study_of(RECIPE, besides=others).trials == []
    run_search(5, RECIPE, SPLIT, besides=others)
    assert len(search._versions(study_of(RECIPE, besides=others))) == 5


def test_both_ways_begin_with_the_same_random_draws(store):
    drawn = random_trials(STARTUP + 2, RECIPE)
    assert drawn == random_trials(STARTUP + 2, RECIPE) != random_trials(STARTUP + 2, replace(RECIPE, seed=4))
    run_search(STARTUP, RECIPE, SPLIT)
    assert {trial.key for trial in drawn[:STARTUP]} == set(versions())
    run_search(STARTUP + 2, RECIPE, SPLIT)
    assert not {trial.key for trial in drawn[STARTUP:]} <= set(versions())


def test_a_guided_search_comes_closer_than_a_random_one():
    """By a score that is known: how far the learning rate, or C, lies from 0.005, for several seeds."""

    def score(trial: Trial) -> float:
        return abs(np.log10(trial.parameters.get("C", trial.parameters.get("learning_rate")) / 0.005))

    wins = []
    for seed in range(10):
        recipe, study = replace(RECIPE, seed=100 * seed), search._new_study()
        guided = []
        for _ in range(25):
            trial, asked = search._ask(study, recipe)
            asked.set_user_attr("trial", trial.key)
            study.tell(asked, score(trial))
            guided.append(score(trial))
        wins.append(
            np.mean(guided[STARTUP:]) < np.mean([score(trial) for trial in random_trials(25, recipe)[STARTUP:]])
        )
    assert sum(wins) >= 9


def losing_from(number: int, monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """From that network on, each one's validation loss is far behind."""
    honest, trained = keras.train, []

    def train(trial, split, start=None, watch=None):
        trained.append(trial)
        late = len(trained) > number
        return honest(trial, split, watch=(lambda epoch, loss: watch(epoch, loss + late)) if watch else None)

    monkeypatch.setattr(keras, "train", train)
    return trained


def test_a_network_that_lags_behind_is_given_up_and_known_for_it(store, monkeypatch):
    monkeypatch.setattr(search, "SPACE", dict.fromkeys(ARCHITECTURES, search.NETWORK))
    monkeypatch.setattr(search, "KINDS", search.optuna.distributions.CategoricalDistribution(tuple(ARCHITECTURES)))
    patient, trained = replace(RECIPE, epochs=8), losing_from(STARTUP, monkeypatch)

    def stop_after_three(*_):
        if len(trained) > STARTUP + 2:
            raise KeyboardInterrupt

    honest = search._tell
    monkeypatch.setattr(search, "_tell", lambda *given: (honest(*given), stop_after_three()))
    with pytest.raises(KeyboardInterrupt):
        run_search(STARTUP + 1, patient, SPLIT)
    assert len(versions()) == STARTUP
    killed = mlflow.search_runs(
        experiment_names=experiment_names(), filter_string="attributes.status = 'KILLED'", output_format="list"
    )
    assert len(killed) == 3
    assert all(run.data.tags["reason"].startswith("Pruned: epoch ") for run in killed)
    states = [trial.state for trial in study_of(patient).trials]
    assert states == [TrialState.COMPLETE] * STARTUP + [TrialState.PRUNED] * 3
    monkeypatch.undo()
    again = run_search(STARTUP + 1, patient, SPLIT)
    assert not {run.data.tags["trial"] for run in killed} & set(versions())
    assert again["outcome"].iloc[-1] == "trained"
    assert len(versions()) == STARTUP + 1


def test_a_search_that_was_stopped_goes_on_where_it_was(store, monkeypatch):
    honest, told = search._tell, []

    def stop_at_the_third(*given):
        told.append(given)
        if len(told) == 3:
            raise KeyboardInterrupt
        honest(*given)

    monkeypatch.setattr(search, "_tell", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_search(5, RECIPE, SPLIT)
    monkeypatch.undo()
    before = versions()
    assert len(before) == 3
    run_search(5, RECIPE, SPLIT)
    assert len(versions()) == len(set(versions())) == 5
    assert set(before) < set(versions())


def test_two_side_by_side_come_to_the_same_number(store):
    run_search(5, RECIPE, SPLIT, n_jobs=2)
    assert len(versions()) == len(set(versions())) == 5
    assert "RUNNING" not in statuses()


def test_a_search_in_which_everything_fails_says_why_and_ends(store):
    train = SPLIT.train.copy()
    train.loc[3, "Team1_Seed"] = np.nan
    with pytest.raises(RuntimeError, match=r"2 trials failed, the last one with ValueError: .* Team1_Seed"):
        run_search(2, RECIPE, Split(train, SPLIT.validation, SPLIT.test))
    assert versions() == []


def test_what_a_parameter_is_worth_adds_up_to_one(store):
    run_search(8, RECIPE, SPLIT)
    shares = importances(study_of(RECIPE), 1)
    assert set(shares.index) == {"architecture", *search.NETWORK}
    assert shares.sum() == pytest.approx(1)
    assert shares.equals(importances(study_of(RECIPE), 1))
    assert importances(search._new_study(), 1).empty


def test_a_trial_of_the_search_is_one_like_any_other(store):
    run_search(2, RECIPE, SPLIT)
    for row in leaderboard("made-up").itertuples():
        version = mlflow.MlflowClient().get_model_version(row.model, str(row.version))
        assert registry.trial_of(version).key == row.trial
        assert registry.load(version).predict(SPLIT.test).shape == (len(SPLIT.test),)
