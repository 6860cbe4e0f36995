"""A game has no first team, the scaler is inside, and the same seed gives the same bits."""

import hashlib
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from helpers.features import FEATURE_SETS, OUTCOME, Split, mirror
from helpers.models import keras
from helpers.models.fitted import numbers
from helpers.trials import ARCHITECTURES, Trial

COLUMNS = FEATURE_SETS["strong"]
HALF = len(COLUMNS) // 2


def made_up(games: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal([5, 1600, 8] * 4, [9, 80, 4] * 4, (games, 12)), columns=COLUMNS)
    chance = 1 / (1 + np.exp(-(table["Team1_Margin"] - table["Team2_Margin"]) / 6))
    return table.assign(**{OUTCOME: (rng.uniform(size=games) < chance).astype(int)})


SPLIT = Split(train=made_up(400, 1), validation=made_up(150, 2), test=made_up(150, 3))


def train(architecture: str = "small", rate: float = 0.01, epochs: int = 2, seed: int = 7, split: Split = SPLIT):
    parameters = {"learning_rate": rate, "epochs": epochs}
    return keras.train(Trial(architecture, parameters, seed, "strong", "made-up"), split)


def untrained(architecture: str, seed: int):
    games = SPLIT.train[COLUMNS]
    return keras.build_network(architecture, numbers(pd.concat([games, mirror(games)]), COLUMNS), seed)


@pytest.fixture(scope="module")
def fitted() -> keras.KerasModel:
    return train("large", epochs=4)


def digest(fitted: keras.KerasModel) -> str:
    return hashlib.sha256(b"".join(weight.tobytes() for weight in fitted.model.get_weights())).hexdigest()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_untrained_network_has_the_units_of_its_name(architecture):
    network = untrained(architecture, seed=7)
    units = [layer.units for layer in network.get_layer("stack").layers]
    assert units == [*ARCHITECTURES[architecture], 1]


finite = st.floats(-1e4, 1e4, width=32)


@given(st.lists(st.lists(finite, min_size=12, max_size=12), min_size=1, max_size=8))
def test_the_two_orders_of_any_game_add_up_to_one(fitted, rows):
    games = pd.DataFrame(rows, columns=COLUMNS)
    both = fitted.predict(games) + fitted.predict(mirror(games))
    assert np.abs(both - 1).max() < 1e-6


def test_a_team_against_itself_is_even(fitted):
    games = SPLIT.test[COLUMNS].copy()
    games[COLUMNS[HALF:]] = games[COLUMNS[:HALF]].to_numpy()
    assert fitted.predict(games).tolist() == [0.5] * len(games)


def test_the_scaler_is_inside(fitted):
    scaler = fitted.model.get_layer("scaler")
    both = np.concatenate([SPLIT.train[COLUMNS], mirror(SPLIT.train[COLUMNS])])
    assert np.allclose(np.squeeze(scaler.mean), both.mean(axis=0), rtol=1e-4)
    assert np.allclose(np.squeeze(scaler.variance), both.var(axis=0), rtol=1e-3)


def test_a_column_that_never_varies_does_no_harm():
    split = Split(
        *(part.assign(Team1_Seed=0.0, Team2_Seed=0.0) for part in (SPLIT.train, SPLIT.validation, SPLIT.test))
    )
    fitted = train(split=split)
    assert np.isfinite(fitted.predict(split.test[COLUMNS])).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(2 * HALF))
def test_a_row_that_is_not_all_numbers_is_answered_with_nan_and_no_other_row(fitted, value, place):
    """By the network alone, as MLflow's pyfunc asks it; the fitted model refuses such rows."""
    rows = SPLIT.test[COLUMNS].head(5).to_numpy("float32", copy=True)
    expected = fitted.model(rows).numpy()
    rows[2, place] = value
    answers = fitted.model(rows).numpy()
    assert np.isnan(answers[2])
    assert (np.delete(answers, 2) == np.delete(expected, 2)).all()
    with pytest.raises(ValueError, match=rf"{COLUMNS[place]} \(1 of 5 rows\)"):
        fitted.predict(pd.DataFrame(rows, columns=COLUMNS))


def test_it_learns(fitted):
    predictions = fitted.predict(SPLIT.test[COLUMNS])
    assert ((predictions - SPLIT.test[OUTCOME]) ** 2).mean() < 0.2


def test_the_weights_are_those_of_the_best_epoch():
    fitted = train(rate=0.1, epochs=12)
    predictions = fitted.predict(SPLIT.validation[COLUMNS])
    loss = ((predictions - SPLIT.validation[OUTCOME]) ** 2).mean()
    assert loss == pytest.approx(fitted.curves["validation"].min(), abs=1e-6)
    assert fitted.curves["validation"].iloc[-1] > fitted.curves["validation"].min()


def test_training_stops_early_and_never_after_epochs():
    patient = train(rate=0.1, epochs=200)
    assert len(patient.curves) == patient.curves["validation"].idxmin() + keras.PATIENCE
    assert len(train(rate=0.1, epochs=2).curves) == 2


def test_a_saved_network_loads_in_safe_mode_and_answers_the_same(fitted, tmp_path):
    again = saved_and_loaded(fitted, tmp_path / "network.keras")
    assert (again.predict(SPLIT.test) == fitted.predict(SPLIT.test)).all()


def saved_and_loaded(fitted: keras.KerasModel, path: Path) -> keras.KerasModel:
    fitted.model.save(path)
    return keras.KerasModel(keras.start_keras().saving.load_model(path, safe_mode=True), COLUMNS)


def train_here() -> str:
    return digest(train("medium", epochs=3, seed=11))


def test_the_same_seed_gives_bit_equal_weights_in_two_processes():
    code = "from tests.models.test_keras import train_here; print(train_here())"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout == train_here() + "\n"
    assert [run.stderr for run in runs] == ["", ""]


def test_another_seed_gives_other_weights():
    assert digest(train(epochs=1, seed=1)) != digest(train(epochs=1, seed=2))


def test_a_kept_graph_gives_the_same_bits_as_a_new_one(monkeypatch):
    rates = (0.001, 0.01, 0.1)
    kept = [digest(train(rate=rate, epochs=3)) for rate in rates]
    for rate, expected in zip(rates, kept, strict=True):
        monkeypatch.setattr(keras, "_twins", {})
        assert digest(train(rate=rate, epochs=3)) == expected
    assert len(set(kept)) == len(rates)


def test_one_graph_serves_all_learning_rates_and_other_data(monkeypatch):
    monkeypatch.setattr(keras, "_twins", {})
    for rate in (0.001, 0.01):
        train(rate=rate, epochs=1)
    higher = SPLIT.train.assign(Team1_CarriedElo=SPLIT.train["Team1_CarriedElo"] + 100)
    other = Split(higher, SPLIT.validation, SPLIT.test)
    fitted = train(rate=0.001, epochs=3, split=other)
    assert len(keras._twins) == 1
    monkeypatch.setattr(keras, "_twins", {})
    assert digest(train(rate=0.001, epochs=3, split=other)) == digest(fitted)
    loss = ((fitted.predict(other.validation[COLUMNS]) - other.validation[OUTCOME]) ** 2).mean()
    assert loss == pytest.approx(fitted.curves["validation"].min(), abs=1e-6)


def test_a_network_that_was_trained_stays_as_it_is_while_another_one_is():
    first = train()
    before = digest(first)
    train(rate=0.1, seed=8)
    assert digest(first) == before


def test_another_user_of_the_random_generators_changes_nothing(monkeypatch):
    expected, honest = train_here(), keras._fit

    def disturbed(*arguments):
        keras.start_keras().utils.set_random_seed(99)
        return honest(*arguments)

    monkeypatch.setattr(keras, "_fit", disturbed)
    random.seed(5)
    assert train_here() == expected


def test_trainings_in_threads_give_the_bits_of_one_after_the_other():
    def bits(seed):
        return digest(train(seed=seed))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(bits, range(3))) == [bits(seed) for seed in range(3)]


def test_a_loaded_network_can_be_fitted_further(fitted, tmp_path):
    """It starts from the weights it has, on any graph: no twin that was kept for its architecture serves it."""
    again = saved_and_loaded(fitted, tmp_path / "network.keras")
    trial = Trial("large", {"learning_rate": 1e-9, "epochs": 1}, 7, "strong", "made-up", start="abc")
    keras.train(trial, SPLIT, start=again)
    assert np.abs(again.predict(SPLIT.test) - fitted.predict(SPLIT.test)).max() < 1e-5
    further = keras.train(replace(trial, parameters={"learning_rate": 0.01, "epochs": 2}), SPLIT, start=again)
    assert np.abs(further.predict(SPLIT.test) - fitted.predict(SPLIT.test)).max() > 1e-3
    assert further.columns == COLUMNS


def test_another_graph_of_the_same_architecture_is_trained_as_it_is(monkeypatch):
    """As one that an older version of this code has built."""
    library = keras.start_keras()
    train()  # a twin for the architecture is kept
    inputs = library.Input((2 * HALF,))
    scaler = library.layers.Normalization(name="scaler")
    scaler.adapt(SPLIT.train[COLUMNS].to_numpy("float32"))
    other = library.Model(inputs, library.layers.Dense(1, "sigmoid", kernel_initializer="zeros")(scaler(inputs)))
    trial = Trial("small", {"learning_rate": 0.1, "epochs": 3}, 7, "strong", "made-up", start="abc")
    further = keras.train(trial, SPLIT, start=keras.KerasModel(other, COLUMNS))
    assert further.curves["train"].iloc[-1] < further.curves["train"].iloc[0] < 0.25


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_missing_or_infinite_value_in_the_training_games_is_named(value):
    games = SPLIT.train.copy()
    games.loc[3, "Team1_Seed"] = value
    with pytest.raises(ValueError, match=r"Team1_Seed \(1 of 800 rows\), Team2_Seed \(1 of 800 rows\)"):
        train(split=Split(games, SPLIT.validation, SPLIT.test))


def test_a_loss_that_is_no_number_is_an_error():
    games = SPLIT.train.assign(**{OUTCOME: SPLIT.train[OUTCOME].astype(float)})
    games.loc[3, OUTCOME] = np.nan
    with pytest.raises(FloatingPointError, match=r"no finite number any more in epoch 1$"):
        train(epochs=5, split=Split(games, SPLIT.validation, SPLIT.test))


def test_weights_that_are_not_finite_are_an_error():
    with pytest.raises(FloatingPointError, match="a loss or a weight"):
        train(rate=1e38, epochs=5)


def test_an_unknown_architecture_is_named():
    with pytest.raises(ValueError, match="no architecture 'tiny'; choose one of linear, small, torch, medium, large"):
        train("tiny")


# How far apart two ways of asking one network may be


def ways(network, games: pd.DataFrame) -> np.ndarray:
    """The same games asked at once, by Keras' own predict, a few at a time, and exactly, in 64 bits."""
    rows, fitted = games.to_numpy("float32"), keras.KerasModel(network, COLUMNS)
    pieces = [fitted.predict(games[i : i + 7]) for i in range(0, len(rows), 7)]
    exact = expit(strength(network, games) - strength(network, mirror(games)))
    return np.array([fitted.predict(games), network.predict(rows)[:, 0], np.concatenate(pieces), exact])


def strength(network, games: pd.DataFrame) -> np.ndarray:
    scaler = network.get_layer("scaler")
    rows = (games.to_numpy(float) - scaler.mean.numpy()) / np.sqrt(scaler.variance.numpy().astype(float))
    *hidden, last = [layer.get_weights() for layer in network.get_layer("stack").layers]
    for weights, bias in hidden:
        rows = np.maximum(rows @ weights.astype(float) + bias, 0)
    return (rows @ last[0].astype(float))[:, 0]


@pytest.mark.parametrize("factor", [0.1, 1, 10, 100])
def test_ways_of_asking_agree_to_what_the_size_of_the_strengths_allows(fitted, factor):
    network = untrained("large", seed=1)
    for layer, trained in zip(network.get_layer("stack").layers, fitted.model.get_layer("stack").layers, strict=True):
        layer.set_weights([factor * weight for weight in trained.get_weights()])
    games = SPLIT.test[COLUMNS]
    allowed = keras.KerasModel(network, COLUMNS).tolerance(games)
    assert np.ptp(ways(network, games), axis=0).max() <= allowed
    largest = max(np.abs(strength(network, side)).max() for side in (games, mirror(games)))
    assert allowed == pytest.approx(min(0.01, 4 * 2**-23 * max(1, largest)), rel=0.01)


def test_another_network_is_not_taken_for_rounding(fitted):
    apart = np.abs(fitted.predict(SPLIT.test) - train("large", epochs=4, seed=8).predict(SPLIT.test)).max()
    assert apart > 10 * fitted.tolerance(SPLIT.test)
    assert fitted.tolerance(SPLIT.test.head(0)) > 0


def test_the_largest_seed_trains():
    assert np.isfinite(train("large", epochs=1, seed=2**31 - 1).curves.to_numpy()).all()
