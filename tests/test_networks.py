"""A game has no first team, the scaler is inside, and the same seed gives the same bits."""

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    network = networks.build_network(architecture, SPLIT.train[COLUMNS], 0.001)
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


def test_importing_the_helpers_does_not_import_tensorflow():
    modules = "bracket, features, games, networks, plots, registry, scoring, store, sweep"
    code = f"import sys; from helpers import {modules}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
