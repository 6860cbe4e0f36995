"""A game has no first team, the scaler is inside, and the same seed gives the same bits."""

import hashlib
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from helpers import networks
from helpers.features import OUTCOME, Split, mirror

HALF = ["Margin", "Elo", "Seed"]
COLUMNS = [f"Team{side}_{name}" for side in (1, 2) for name in HALF]


def made_up(games: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal([5, 1600, 8] * 2, [9, 80, 4] * 2, (games, 6)), columns=COLUMNS)
    chance = 1 / (1 + np.exp(-(table["Team1_Margin"] - table["Team2_Margin"]) / 6))
    return table.assign(**{OUTCOME: (rng.uniform(size=games) < chance).astype(int)})


SPLIT = Split(train=made_up(400, 1), validation=made_up(150, 2), test=made_up(150, 3))


@pytest.fixture(scope="module")
def fit() -> networks.Fit:
    return networks.train("large", SPLIT, COLUMNS, learning_rate=0.01, epochs=4, seed=7)


def digest(network) -> str:
    return hashlib.sha256(b"".join(weight.tobytes() for weight in network.get_weights())).hexdigest()


@pytest.mark.parametrize("architecture", networks.ARCHITECTURES)
def test_an_untrained_network_has_the_units_of_its_name(architecture):
    network = networks.build_network(architecture, SPLIT.train[COLUMNS], seed=7)
    units = [layer.units for layer in network.get_layer("stack").layers]
    assert units == [*networks.ARCHITECTURES[architecture], 1]


finite = st.floats(-1e4, 1e4, width=32)


@given(st.lists(st.lists(finite, min_size=6, max_size=6), min_size=1, max_size=8))
def test_the_two_orders_of_any_game_add_up_to_one(fit, rows):
    games = pd.DataFrame(rows, columns=COLUMNS)
    both = networks.predict(fit.network, games) + networks.predict(fit.network, mirror(games))
    assert np.abs(both - 1).max() < 1e-6


def test_a_team_against_itself_is_even(fit):
    games = SPLIT.test[COLUMNS].copy()
    games[COLUMNS[3:]] = games[COLUMNS[:3]].to_numpy()
    assert networks.predict(fit.network, games).tolist() == [0.5] * len(games)


def test_the_scaler_is_inside(fit):
    scaler = fit.network.get_layer("scaler")
    both = np.concatenate([SPLIT.train[COLUMNS], mirror(SPLIT.train[COLUMNS])])
    assert np.allclose(np.squeeze(scaler.mean), both.mean(axis=0), rtol=1e-4)
    assert np.allclose(np.squeeze(scaler.variance), both.var(axis=0), rtol=1e-3)


def test_a_column_that_never_varies_does_no_harm():
    split = Split(
        *(part.assign(Team1_Seed=0.0, Team2_Seed=0.0) for part in (SPLIT.train, SPLIT.validation, SPLIT.test))
    )
    fit = networks.train("small", split, COLUMNS, learning_rate=0.01, epochs=2, seed=7)
    assert np.isfinite(networks.predict(fit.network, split.test[COLUMNS])).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(6))
def test_a_row_that_is_not_all_numbers_is_answered_with_nan_and_no_other_row(fit, value, place):
    games = SPLIT.test[COLUMNS].head(5).copy()
    expected = networks.predict(fit.network, games)
    games.iloc[2, place] = value
    answers = networks.predict(fit.network, games)
    assert np.isnan(answers[2])
    assert (np.delete(answers, 2) == np.delete(expected, 2)).all()


def test_it_learns(fit):
    predictions = networks.predict(fit.network, SPLIT.test[COLUMNS])
    assert ((predictions - SPLIT.test[OUTCOME]) ** 2).mean() < 0.2


def test_the_weights_are_those_of_the_best_epoch():
    fit = networks.train("small", SPLIT, COLUMNS, learning_rate=0.1, epochs=12, seed=7)
    predictions = networks.predict(fit.network, SPLIT.validation[COLUMNS])
    loss = ((predictions - SPLIT.validation[OUTCOME]) ** 2).mean()
    assert loss == pytest.approx(fit.curves["validation"].min(), abs=1e-6)
    assert fit.curves["validation"].iloc[-1] > fit.curves["validation"].min()


def test_training_stops_early_and_never_after_epochs():
    patient = networks.train("small", SPLIT, COLUMNS, learning_rate=0.1, epochs=200, seed=7)
    assert len(patient.curves) == patient.curves["validation"].idxmin() + networks.PATIENCE
    assert len(networks.train("small", SPLIT, COLUMNS, learning_rate=0.1, epochs=2, seed=7).curves) == 2


def test_a_saved_network_loads_in_safe_mode_and_answers_the_same(fit, tmp_path):
    keras = networks.start_keras()
    fit.network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    games = SPLIT.test[COLUMNS]
    assert (networks.predict(again, games) == networks.predict(fit.network, games)).all()


def train_here() -> str:
    return digest(networks.train("medium", SPLIT, COLUMNS, learning_rate=0.01, epochs=3, seed=11).network)


def test_the_same_seed_gives_bit_equal_weights_in_two_processes():
    code = "from tests.test_networks import train_here; print(train_here())"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout == train_here() + "\n"
    assert [run.stderr for run in runs] == ["", ""]


def test_another_seed_gives_other_weights():
    one, other = (networks.train("small", SPLIT, COLUMNS, 0.01, 1, seed) for seed in (1, 2))
    assert digest(one.network) != digest(other.network)


def test_a_kept_graph_gives_the_same_bits_as_a_new_one(monkeypatch):
    rates = (0.001, 0.01, 0.1)
    kept = [digest(networks.train("small", SPLIT, COLUMNS, rate, 3, 7).network) for rate in rates]
    for rate, expected in zip(rates, kept, strict=True):
        monkeypatch.setattr(networks, "_twins", {})
        assert digest(networks.train("small", SPLIT, COLUMNS, rate, 3, 7).network) == expected
    assert len(set(kept)) == len(rates)


def test_one_graph_serves_all_learning_rates_and_no_other_data(monkeypatch):
    monkeypatch.setattr(networks, "_twins", {})
    for rate in (0.001, 0.01):
        networks.train("small", SPLIT, COLUMNS, rate, 1, 7)
    assert len(networks._twins) == 1
    other = Split(SPLIT.train.assign(Team1_Elo=SPLIT.train["Team1_Elo"] + 100), SPLIT.validation, SPLIT.test)
    fit = networks.train("small", other, COLUMNS, 0.001, 3, 7)
    assert len(networks._twins) == 2
    loss = ((networks.predict(fit.network, other.validation[COLUMNS]) - other.validation[OUTCOME]) ** 2).mean()
    assert loss == pytest.approx(fit.curves["validation"].min(), abs=1e-6)


def test_a_network_that_was_trained_stays_as_it_is_while_another_one_is():
    first = networks.train("small", SPLIT, COLUMNS, 0.01, 2, 7).network
    before = digest(first)
    networks.train("small", SPLIT, COLUMNS, 0.1, 2, 8)
    assert digest(first) == before


def test_another_user_of_the_random_generators_changes_nothing(monkeypatch):
    expected, honest = train_here(), networks.fit

    def disturbed(*arguments):
        networks.start_keras().utils.set_random_seed(99)
        return honest(*arguments)

    monkeypatch.setattr(networks, "fit", disturbed)
    random.seed(5)
    assert train_here() == expected


def test_trainings_in_threads_give_the_bits_of_one_after_the_other():
    def train(seed):
        return digest(networks.train("small", SPLIT, COLUMNS, 0.01, 2, seed).network)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(train, range(3))) == [train(seed) for seed in range(3)]


def test_a_loaded_network_can_be_fitted_further(fit, tmp_path):
    keras = networks.start_keras()
    fit.network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    before = networks.predict(fit.network, SPLIT.test[COLUMNS])
    further = networks.fit(again, SPLIT.test, SPLIT.validation, COLUMNS, 0.01, 2, seed=7)
    assert np.abs(networks.predict(further.network, SPLIT.test[COLUMNS]) - before).max() > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_missing_or_infinite_value_in_the_training_games_is_named(value):
    train = SPLIT.train.copy()
    train.loc[3, "Team1_Elo"] = value
    with pytest.raises(ValueError, match=r"Team1_Elo \(1 of 800 rows\), Team2_Elo \(1 of 800 rows\)"):
        networks.train("small", Split(train, SPLIT.validation, SPLIT.test), COLUMNS, 0.01, 2, 7)


def test_a_loss_that_is_no_number_is_an_error():
    train = SPLIT.train.assign(**{OUTCOME: SPLIT.train[OUTCOME].astype(float)})
    train.loc[3, OUTCOME] = np.nan
    with pytest.raises(FloatingPointError, match=r"no finite number any more in epoch 1$"):
        networks.train("small", Split(train, SPLIT.validation, SPLIT.test), COLUMNS, 0.01, 5, 7)


def test_weights_that_are_not_finite_are_an_error():
    with pytest.raises(FloatingPointError, match="a loss or a weight"):
        networks.train("small", SPLIT, COLUMNS, 1e38, 5, 7)


def test_an_unknown_architecture_is_named():
    with pytest.raises(ValueError, match="no architecture 'tiny'; choose one of small, medium, large"):
        networks.train("tiny", SPLIT, COLUMNS, 0.01, 5, 7)


# What goes in

TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
RIGHT = {
    "as it is": TABLE,
    "columns reversed": TABLE[["b", "a"]],
    "a column more": TABLE.assign(c="text"),
    "int": TABLE.astype(int),
    "float32": TABLE.astype("float32"),
    "nullable int": TABLE.astype("Int64"),
    "numbers as objects": TABLE.astype(object),
    "another index": TABLE.set_index(pd.Index([7, 7, 7])),
}
WRONG = {
    "renamed": (TABLE.rename(columns={"a": "A"}), r"once: a \(missing\)"),
    "missing": (TABLE[["b"]], r"once: a \(missing\)"),
    "twice": (pd.concat([TABLE, TABLE[["a"]]], axis=1), r"once: a \(twice\)"),
    "text": (TABLE.assign(a=["1", "2", "3"]), r"in a \(3 of 3 rows\)"),
    "a word": (TABLE.assign(a=pd.Series([1, "Duke", 3], dtype=object)), r"in a \(1 of 3 rows\)"),
    "bool": (TABLE.assign(a=[True, False, True]), r"in a \(3 of 3 rows\)"),
    "None": (TABLE.assign(a=pd.Series([1, None, 3], dtype=object)), r"in a \(1 of 3 rows\)"),
    "NA": (TABLE.assign(a=pd.Series([1, None, 3], dtype="Int64")), r"in a \(1 of 3 rows\)"),
    "NaN": (TABLE.assign(a=[np.nan, 2, np.nan]), r"in a \(2 of 3 rows\)"),
    "inf": (TABLE.assign(b=[1, -np.inf, 2]), r"in b \(1 of 3 rows\)"),
    "too large for float32": (TABLE.assign(b=[1, 1e300, 2]), r"in b \(1 of 3 rows\)"),
    "dates": (TABLE.assign(a=pd.Timestamp(2021, 4, 5)), r"in a \(3 of 3 rows\)"),
    "complex": (TABLE.assign(a=[1j, 2, 3]), r"in a \(3 of 3 rows\)"),
}


@pytest.mark.parametrize("table", RIGHT.values(), ids=RIGHT)
def test_columns_are_found_by_their_names_whatever_their_kind_of_number(table):
    rows = networks.numbers(table, ["a", "b"])
    assert rows.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert rows.dtype == "float32"


def test_no_rows_are_no_numbers():
    assert networks.numbers(TABLE.head(0), ["a", "b"]).shape == (0, 2)


@pytest.mark.parametrize(("table", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_no_number_is_refused_by_column_and_count_and_never_shown(table, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        networks.numbers(table, ["a", "b"])
    assert "\n" not in str(error.value)
    assert "Duke" not in str(error.value)


def test_a_table_without_names_is_refused():
    with pytest.raises(TypeError, match="pandas DataFrame with named columns, not as ndarray"):
        networks.numbers(TABLE.to_numpy(), ["a", "b"])


def test_importing_the_helpers_does_not_import_tensorflow():
    modules = "bracket, candidates, features, games, networks, plots, registry, runs, scoring, store, sweep"
    code = f"import sys; from helpers import {modules}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# How far apart two ways of asking one network may be


def ways(network, games: pd.DataFrame) -> np.ndarray:
    """The same games asked at once, by Keras' own predict, a few at a time, and exactly, in 64 bits."""
    rows = games.to_numpy("float32")
    pieces = [networks.predict(network, rows[i : i + 7]) for i in range(0, len(rows), 7)]
    exact = expit(strength(network, games) - strength(network, mirror(games)))
    return np.array([networks.predict(network, rows), network.predict(rows)[:, 0], np.concatenate(pieces), exact])


def strength(network, games: pd.DataFrame) -> np.ndarray:
    scaler = network.get_layer("scaler")
    rows = (games.to_numpy(float) - scaler.mean.numpy()) / np.sqrt(scaler.variance.numpy().astype(float))
    *hidden, last = [layer.get_weights() for layer in network.get_layer("stack").layers]
    for weights, bias in hidden:
        rows = np.maximum(rows @ weights.astype(float) + bias, 0)
    return (rows @ last[0].astype(float))[:, 0]


@pytest.mark.parametrize("factor", [0.1, 1, 10, 100])
def test_ways_of_asking_agree_to_what_the_size_of_the_strengths_allows(fit, factor):
    network = networks.build_network("large", SPLIT.train[COLUMNS], seed=1)
    for layer, trained in zip(network.get_layer("stack").layers, fit.network.get_layer("stack").layers, strict=True):
        layer.set_weights([factor * weight for weight in trained.get_weights()])
    games = SPLIT.test[COLUMNS]
    allowed = networks.tolerance(network, games)
    assert np.ptp(ways(network, games), axis=0).max() <= allowed
    largest = max(np.abs(strength(network, side)).max() for side in (games, mirror(games)))
    assert allowed == pytest.approx(min(0.01, 4 * 2**-23 * max(1, largest)), rel=0.01)


def test_another_network_is_not_taken_for_rounding(fit):
    games = SPLIT.test[COLUMNS]
    other = networks.train("large", SPLIT, COLUMNS, learning_rate=0.01, epochs=4, seed=8).network
    apart = np.abs(networks.predict(fit.network, games) - networks.predict(other, games)).max()
    assert apart > 10 * networks.tolerance(fit.network, games)
    assert networks.tolerance(fit.network, games.head(0)) > 0
