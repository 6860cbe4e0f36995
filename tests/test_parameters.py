"""A parameter that nothing can be done with is refused at once, with one sentence that names it."""

import ast

import mlflow
import numpy as np
import pytest

from helpers.models import check, keras
from helpers.parameters import RULES, check_parameters
from helpers.sweep import run_sweep, run_trial
from helpers.tools import execute
from helpers.trials import Trial, make_trials
from tests.support.cells import run_cells
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT
from tests.test_notebooks import code_cells, every_notebook, parameters_cell

WRONG = {
    "EPOCHS": [0, -1, 1e2, 2.5, True, "5", None],
    "SEED": [-1, 2**31, 1.0, "2024", False, None],
    "VALIDATION_SEASONS": [0, 3.0, "3", None],
    "TEST_SEASONS": [0, 3.0, "3", None],
    "LEARNING_RATES": [
        [],
        [0.01],
        [0.01, 0.01],
        [1, 1.0],
        [0.1, 0],
        [0.1, -0.1],
        [0.1, np.nan],
        [0.1, np.inf],
        ["0.1", "0.2"],
        [True, 0.1],
        "[0.1, 0.01]",
        0.1,
        {0.1: 1, 0.2: 2},
    ],
    "LEARNING_RATE": [0, -0.01, np.nan, np.inf, "0.1", None, True],
    "C": [0, -1, np.inf, "1", None, True],
    "WEIGHT_DECAY": [0, -1, np.nan, "1", None, True],
    "DROPOUT": [-0.1, 1, 1.5, np.nan, "0.5", None, True],
    "BATCH_SIZE": [0, 32.0, "32", None, True],
    "TRIALS": [0, -1, 8.0, "8", None, True],
    "MARGIN": [-0.1, 1, np.nan, "0.1", None, True],
    "SOURCE": ["", " ", None, 5],
    "STORE": ["", None, 5],
    "DATABASE": [None, 5],
    "ARTIFACTS": [None, 5],
    "SEASON": [2024.0, "2024", 0, True],
}
RIGHT = {
    "EPOCHS": [1, 100, np.int64(5)],
    "SEED": [0, 2**31 - 1],
    "VALIDATION_SEASONS": [1],
    "TEST_SEASONS": [5],
    "LEARNING_RATES": [[0.001, 0.01, 0.1], (1, 2), [np.float64(0.1), 1e38]],
    "LEARNING_RATE": [1e-9, 1, np.float32(0.1)],
    "C": [0.001, 1],
    "WEIGHT_DECAY": [0.1, 30],
    "DROPOUT": [0, 0.5, np.float64(0.25)],
    "BATCH_SIZE": [1, 128],
    "TRIALS": [1, 500],
    "MARGIN": [0, 0.002],
    "SOURCE": ["simulated", "kaggle", "my games"],
    "STORE": ["../store", "http://127.0.0.1:5000"],
    "DATABASE": ["", "postgresql+psycopg://127.0.0.1/mlflow"],
    "ARTIFACTS": ["", "s3://mlflow"],
    "SEASON": [None, 2024],
}
BY_NAME = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), BY_NAME, ids=lambda part: str(part))
def test_a_value_that_cannot_be_is_refused_in_one_sentence(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*; it must be [^\n]*\.$") as error:
        check_parameters(**{name: value})
    assert repr(value) in str(error.value)


def test_the_sentence_is_the_one_that_was_promised():
    with pytest.raises(ValueError, match=r"^EPOCHS is 0; it must be a whole number of at least 1\.$"):
        check_parameters(SEED=1, EPOCHS=0, STORE="")


def test_what_can_be_is_let_through():
    assert set(RIGHT) == set(WRONG) == set(RULES)
    for name, values in RIGHT.items():
        for value in values:
            check_parameters(**{name: value})


@every_notebook
def test_the_first_cell_after_the_parameters_checks_each_of_them(path):
    cells = code_cells(path)
    first = cells[cells.index(parameters_cell(path)) + 1]
    (call,) = [node for node in ast.walk(ast.parse(first.source)) if isinstance(node, ast.Call)]
    declared = [statement.targets[0].id for statement in ast.parse(parameters_cell(path).source).body]
    assert call.func.id == "check_parameters"
    assert {word.arg: word.value.id for word in call.keywords} == dict(zip(declared, declared, strict=True))


def test_a_notebook_stops_with_the_sentence_before_it_does_anything(tmp_path):
    with pytest.raises(ValueError, match="EPOCHS is 0; it must be a whole number"):
        run_cells("02", str(tmp_path / "store"), EPOCHS=0)
    assert not (tmp_path / "store").exists()


def test_make_run_stops_with_the_sentence_before_the_first_notebook(tmp_path):
    with pytest.raises(ValueError, match="LEARNING_RATES is the text 'a'; it must be a list"):
        execute.execute_notebooks(tmp_path, {"LEARNING_RATES": "a"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", WRONG["LEARNING_RATE"])
def test_no_candidate_is_made_with_a_learning_rate_of_0_or_below(rate):
    with pytest.raises(ValueError, match="LEARNING_RATE is"):
        check(Trial("small", {"learning_rate": rate, "epochs": 1}, 1, "strong", "d"))


def test_a_grid_with_such_a_rate_is_refused_whole(store):
    grid = make_trials([0.1, -0.1], 1, 1, "strong", "made-up")
    for deed in (
        lambda: run_sweep(grid, SPLIT),
        lambda: run_trial(grid[1], SPLIT),
        lambda: keras.train(grid[1], SPLIT),
    ):
        with pytest.raises(ValueError, match=r"LEARNING_RATE is -0\.1; it must be a number above 0\."):
            deed()
    assert mlflow.search_runs(experiment_names=CANDIDATES).empty
