"""A trial's key names all that decides its model, and is the same as ever."""

from dataclasses import fields, replace

import pytest

from helpers.trials import ARCHITECTURES, Trial, make_trial, make_trials
from tests.support.names import CANDIDATES

TRIAL = Trial("small", {"learning_rate": 0.01, "epochs": 100}, 2024, "strong", "8ecc1401")


def test_the_key_is_the_one_that_stores_filled_by_earlier_versions_hold():
    """Taken from such a store, not from this code."""
    assert TRIAL.key == "ebbc0c1bdcf29512"
    assert replace(TRIAL, parameters={"epochs": 100, "learning_rate": 0.01}).key == TRIAL.key
    assert replace(TRIAL, start="abc").key == "abc-8ecc1401"


def test_the_key_is_made_of_every_field_and_of_nothing_else():
    changed = {"architecture": "large", "parameters": {"learning_rate": 0.02, "epochs": 100}, "seed": 4}
    changed |= {"features": "x", "data": "y", "start": "z"}
    keys = {replace(TRIAL, **{field: value}).key for field, value in changed.items()}
    assert set(changed) == {field.name for field in fields(Trial)}
    assert len(keys | {TRIAL.key, replace(TRIAL, parameters={"learning_rate": 0.01, "epochs": 3}).key}) == 8


def test_make_trials_is_the_grid_with_the_smallest_network_first():
    trials = make_trials([0.1, 0.2], epochs=1, seed=2, features="strong", data="d")
    assert [(t.architecture, t.parameters["learning_rate"]) for t in trials] == [
        (name, rate) for name in ("small", "medium", "large") for rate in (0.1, 0.2)
    ]
    assert {trial.model for trial in trials} == set(CANDIDATES)


def test_a_whole_number_is_the_same_rate_as_a_number_with_a_point():
    assert make_trials([1, 2], 1, 1, "strong", "d") == make_trials([1.0, 2.0], 1, 1, "strong", "d")


@pytest.mark.parametrize("trial", [TRIAL, replace(TRIAL, start="abc"), replace(TRIAL, parameters={"C": 1.0})])
def test_a_trial_comes_back_from_what_it_is_made_of(trial):
    assert make_trial(trial.made_of) == trial
    assert make_trial(trial.made_of).key == trial.key


def test_equal_trials_are_one_in_a_set():
    assert len({TRIAL, replace(TRIAL), replace(TRIAL, seed=1), replace(TRIAL, parameters={})}) == 3


def test_the_label_names_the_parameters_and_not_how_long_it_trains_at_most():
    assert str(TRIAL) == "march-madness-small, learning rate 0.01"
    assert replace(TRIAL, parameters={"C": 0.5, "solver": "lbfgs"}).label == "C 0.5, solver lbfgs"


@pytest.mark.parametrize("name", ["O'Neil", "a b", "Göteborg"])
def test_an_architecture_that_could_not_be_a_name_in_a_filter_is_refused(name):
    with pytest.raises(ValueError, match="letters, digits and hyphens only"):
        _ = replace(TRIAL, architecture=name).model


def test_there_is_one_list_of_architectures():
    assert [name.rpartition("-")[2] for name in CANDIDATES] == list(ARCHITECTURES)
