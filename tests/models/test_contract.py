"""What every kind of model keeps to, whatever its library: before it is registered, after, in whatever way asked."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import registry
from helpers.features import FEATURE_SETS, OUTCOME, Split, mirror
from helpers.models import check, library_of
from helpers.models.fitted import FittedModel, Pruned
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import LIBRARIES, Trial
from tests.support.work import SPLIT

COLUMNS = FEATURE_SETS["strong"]
MADE_OF = {
    "linear": {"C": 0.1},
    "small": {"learning_rate": 0.01, "epochs": 3, "weight_decay": 1.0, "dropout": 0.25, "batch_size": 64},
    "torch": {"learning_rate": 0.01, "epochs": 3, "weight_decay": 1.0, "batch_size": 64},
}
EVERY = [
    pytest.param(
        kind,
        marks=pytest.mark.skipif(
            kind == "torch" and not find_spec("torch") and not os.environ.get("CI"),
            reason="PyTorch is not installed: make torch",
        ),
    )
    for kind in MADE_OF
]
NETWORKS = EVERY[1:]


def trial_of(kind: str) -> Trial:
    return Trial(kind, MADE_OF[kind], 7, "strong", "made-up")


def train(kind: str, split: Split = SPLIT, **changed: float) -> FittedModel:
    trial = trial_of(kind)
    return library_of(kind).train(replace(trial, parameters={**trial.parameters, **changed}), split)


@pytest.fixture(scope="module", params=EVERY)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(kind: str) -> FittedModel:
    return train(kind)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("contract") / "store")


@pytest.fixture
def version(home: str, kind: str) -> ModelVersion:
    use_store(home)
    return run_trial(trial_of(kind), SPLIT)


@pytest.fixture
def address(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"


@pytest.fixture
def loaded(version: ModelVersion) -> FittedModel:
    return registry.load(version)


def test_every_library_is_here():
    assert {LIBRARIES[kind] for kind in MADE_OF} == set(LIBRARIES.values())


def test_a_game_has_no_first_team_before_and_after_reload(fitted, loaded):
    games = SPLIT.test[COLUMNS]
    for model in (fitted, loaded):
        assert np.abs(model.predict(games) + model.predict(mirror(games)) - 1).max() < 1e-6
    even = pd.DataFrame(np.tile(games.to_numpy()[:, :6], 2), columns=COLUMNS)
    assert fitted.predict(even) == pytest.approx(0.5, abs=1e-7)


def test_it_is_the_same_model_after_reload(fitted, loaded):
    assert type(loaded) is type(fitted)
    assert loaded.columns == fitted.columns
    assert np.abs(loaded.predict(SPLIT.test) - fitted.predict(SPLIT.test)).max() <= fitted.tolerance(SPLIT.test)


def answers_here(kind: str) -> str:
    return train(kind).predict(SPLIT.test).tobytes().hex()


def test_one_seed_gives_the_same_bits_in_two_processes(kind):
    code = f"from tests.models.test_contract import answers_here; print(answers_here({kind!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (answers_here(kind) + "\n", "")


@pytest.mark.parametrize("kind", NETWORKS, indirect=True)
def test_another_seed_gives_another_network(kind, fitted):
    other = library_of(kind).train(replace(trial_of(kind), seed=8), SPLIT)
    assert np.abs(other.predict(SPLIT.test) - fitted.predict(SPLIT.test)).max() > 10 * fitted.tolerance(SPLIT.test)


def test_it_learns(fitted):
    assert ((fitted.predict(SPLIT.train) - SPLIT.train[OUTCOME]) ** 2).mean() < 0.23


def test_the_units_of_a_column_do_not_matter(kind, fitted):
    """The scaler is inside, so raw features of any size do."""
    parts = (SPLIT.train, SPLIT.validation, SPLIT.test)
    larger = Split(*(part.assign(**{column: 1000 * part[column] for column in COLUMNS}) for part in parts))
    apart = np.abs(train(kind, larger).predict(larger.test) - fitted.predict(SPLIT.test)).max()
    assert apart < 0.01


def test_columns_go_by_their_names_in_every_way_of_asking(loaded, address):
    games, turned = SPLIT.test[COLUMNS], SPLIT.test[COLUMNS[::-1]].assign(more="text")
    assert (loaded.predict(turned) == loaded.predict(games)).all()
    model = mlflow.pyfunc.load_model(address)
    for table in (games, turned[COLUMNS[::-1]]):
        assert np.abs(model.predict(table)[0].to_numpy() - loaded.predict(games)).max() <= loaded.tolerance(games)


GAMES = SPLIT.test[COLUMNS].head(3)
WRONG = {
    "missing": (GAMES.drop(columns=COLUMNS[2]), r"Each of 12 columns is needed once, .*: {} \(missing\)\."),
    "twice": (
        pd.concat([GAMES, GAMES[[COLUMNS[2]]]], axis=1),
        r"Each of 12 columns is needed once, .*: {} \(twice\)\.",
    ),
    "NaN": (GAMES.assign(**{COLUMNS[2]: [1, np.nan, 2]}), r"Only finite numbers .* in {} \(1 of 3 rows\)\."),
    "inf": (GAMES.assign(**{COLUMNS[2]: [1, np.inf, 2]}), r"Only finite numbers .* in {} \(1 of 3 rows\)\."),
    "text": (GAMES.assign(**{COLUMNS[2]: "12"}), r"Only finite numbers .* in {} \(3 of 3 rows\)\."),
    "bool": (GAMES.assign(**{COLUMNS[2]: True}), r"Only finite numbers .* in {} \(3 of 3 rows\)\."),
}


@pytest.mark.parametrize(("table", "sentence"), WRONG.values(), ids=WRONG)
def test_what_would_be_scored_wrongly_is_refused_with_the_same_sentence(fitted, loaded, table, sentence):
    for model in (fitted, loaded):
        with pytest.raises(ValueError, match=f"^{sentence.format(COLUMNS[2])}$"):
            model.predict(table)


@pytest.mark.parametrize("name", ["missing", "text", "bool"])
def test_the_signature_refuses_it_too(address, name):
    with pytest.raises(mlflow.MlflowException, match="schema"):
        mlflow.pyfunc.load_model(address).predict(WRONG[name][0])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_the_pyfunc_refuses_a_row_that_is_not_all_numbers_with_the_same_sentence(address, value):
    rows = GAMES.reset_index(drop=True)
    rows.loc[1, COLUMNS[2]] = value
    with pytest.raises(mlflow.MlflowException, match=rf"^Only finite numbers .* in {COLUMNS[2]} \(1 of 3 rows\)\.$"):
        mlflow.pyfunc.load_model(address).predict(rows)


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_the_pyfunc_answers_any_number_of_rows_as_the_model_does(address, loaded, rows):
    games = SPLIT.test.iloc[np.arange(rows) % len(SPLIT.test)]
    answers = mlflow.pyfunc.load_model(address).predict(games[COLUMNS])
    assert answers.shape == (rows, 1)
    assert np.abs(answers[0] - loaded.predict(games)).max() <= loaded.tolerance(games) or not rows


def test_a_value_that_is_no_number_is_not_trained_on(kind):
    games = SPLIT.train.copy()
    games.loc[3, COLUMNS[2]] = np.nan
    with pytest.raises(ValueError, match=rf"{COLUMNS[2]} \(\d of \d+ rows\)"):
        train(kind, Split(games, SPLIT.validation, SPLIT.test))


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_any_number_of_rows(loaded, rows):
    games = SPLIT.test.iloc[np.arange(rows) % len(SPLIT.test)]
    answers = loaded.predict(games)
    assert answers.shape == (rows,)
    assert answers.dtype == float
    few = loaded.predict(SPLIT.test)[: len(answers)]
    assert np.abs(answers[: len(few)] - few).max(initial=0) <= loaded.tolerance(SPLIT.test)


def test_its_tolerance_is_rounding_and_no_more(fitted):
    assert 0 < fitted.tolerance(SPLIT.test) < 1e-4
    assert fitted.tolerance(SPLIT.test.head(0)) > 0


def test_a_changed_byte_or_another_file_is_refused(version, tmp_path):
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=tmp_path))
    assert registry.digest(folder) == version.tags["digest"]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "registered_model_meta"]
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert registry.digest(folder) != version.tags["digest"]
        path.write_bytes(before)


def test_no_file_is_a_pickle(version, tmp_path):
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=tmp_path))
    assert not {path.suffix for path in folder.rglob("*")} & {".pkl", ".pickle", ".pth", ".pt", ".joblib"}


def test_a_planted_payload_runs_in_no_way_of_loading(version, tmp_path, monkeypatch):
    """Put where the model was, with its digest made anew, as by somebody who may write tags as well."""
    monkeypatch.chdir(tmp_path)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path="model"))
    (model,) = [path for path in folder.rglob("model.*") if path.suffix in (".skops", ".keras", ".pt2")]
    PAYLOADS[model.suffix](model)
    for load in (registry.load_folder, lambda path: mlflow.pyfunc.load_model(str(path))):
        with pytest.raises(Exception):  # noqa: B017, PT011  each library has its own
            load(folder)
    assert not (tmp_path / "ran").exists()


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


def plant_skops(model: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(os.mkdir), model)


def plant_keras(model: Path) -> None:
    library = library_of("small").start_keras()
    inputs = library.Input((12,))
    code = library.layers.Lambda(lambda rows: __import__("os").mkdir("ran") or rows[:, :1], output_shape=(1,))
    shutil.rmtree("ran", ignore_errors=True)
    library.Model(inputs, code(inputs)).save(model)
    shutil.rmtree("ran", ignore_errors=True)


def plant_torch(model: Path) -> None:
    library_of("torch").start_torch().save(Payload(), model)


PAYLOADS = {".skops": plant_skops, ".keras": plant_keras, ".pt2": plant_torch}


def test_what_it_needs_is_pinned_to_what_it_was_made_with(address, fitted):
    file = Path(mlflow.artifacts.download_artifacts(f"{address}/requirements.txt"))
    pins = dict(line.split("==") for line in file.read_text().split())
    assert {"mlflow", "numpy", "pandas", *(name.replace("sklearn", "scikit-learn") for name in fitted.packages)} == set(
        pins
    )
    assert pins["mlflow"] == mlflow.__version__


def test_it_keeps_to_its_share_of_the_cores(kind):
    code = f"""
import sklearn.linear_model, threadpoolctl
from tests.models.test_contract import *
pools, fit = [], sklearn.linear_model.LogisticRegression.fit
def seen(*args):
    pools.extend(threadpoolctl.threadpool_info())
    return fit(*args)
sklearn.linear_model.LogisticRegression.fit = seen
library_of({kind!r}).use_cores(1)
train({kind!r})
threads = {{
    "linear": lambda: max(pool["num_threads"] for pool in pools if pool["user_api"] == "blas"),
    "small": lambda: os.environ["TF_NUM_INTRAOP_THREADS"],  # which TensorFlow reads when it starts
    "torch": lambda: sys.modules["torch"].get_num_threads(),
}}
print(threads[{kind!r}]())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("kind", NETWORKS, indirect=True)
def test_its_epochs_can_be_watched_and_given_up(kind):
    seen = []

    def watch(epoch: int, loss: float) -> None:
        seen.append((epoch, loss))
        if epoch == 2:
            raise Pruned("enough")

    with pytest.raises(Pruned, match="enough"):
        library_of(kind).train(trial_of(kind), SPLIT, watch=watch)
    whole = train(kind)
    assert seen == [(epoch, pytest.approx(loss)) for epoch, loss in whole.curves["validation"].head(2).items()]


@pytest.mark.parametrize("kind", NETWORKS, indirect=True)
def test_a_loaded_network_is_trained_further_from_where_it_was(kind, loaded):
    before, library = loaded.predict(SPLIT.test), library_of(kind)
    slow = replace(trial_of(kind), parameters={"learning_rate": 1e-9, "epochs": 1}, start="abc")
    assert np.abs(library.train(slow, SPLIT, start=loaded).predict(SPLIT.test) - before).max() < 1e-5
    fast = replace(slow, parameters={"learning_rate": 0.01, "epochs": 2})
    assert np.abs(library.train(fast, SPLIT, start=loaded).predict(SPLIT.test) - before).max() > 1e-3


def test_a_regression_is_not_trained_further():
    with pytest.raises(ValueError, match="A logistic regression starts from nothing"):
        library_of("linear").train(trial_of("linear"), SPLIT, start=train("linear"))


@pytest.mark.parametrize("kind", NETWORKS, indirect=True)
def test_weight_decay_holds_the_answers_back(kind):
    held, free = (
        np.abs(train(kind, weight_decay=decay, epochs=10).predict(SPLIT.test) - 0.5).mean() for decay in (30, 1e-9)
    )
    assert held < 0.8 * free


def test_a_small_c_holds_the_answers_back():
    held, free = (np.abs(train("linear", C=C).predict(SPLIT.test) - 0.5).mean() for C in (0.001, 10))
    assert held < 0.8 * free


@pytest.mark.parametrize(
    ("kind", "parameters", "sentence"),
    [
        ("linear", {"learning_rate": 0.1}, "A trial of linear is made of C, and not of learning_rate."),
        ("linear", {"C": 0.0}, "C is 0.0; it must be a number above 0."),
        (
            "torch",
            {"learning_rate": 0.1},
            "A trial of torch is made of epochs, learning_rate, maybe batch_size, maybe ",
        ),
        ("small", {"learning_rate": 0.1, "epochs": 1, "dropout": 1.0}, "DROPOUT is 1.0; it must be a share from 0 to "),
        (
            "small",
            {"learning_rate": 0.1, "epochs": 1, "weight_decay": -1},
            "WEIGHT_DECAY is -1; it must be a number above",
        ),
        ("tiny", {}, "There is no architecture 'tiny'; choose one of linear, small, torch, medium, large."),
    ],
)
def test_a_trial_that_nothing_can_be_trained_with_is_refused(kind, parameters, sentence):
    with pytest.raises(ValueError, match="^" + sentence.replace(".", r"\.")):
        check(Trial(kind, parameters, 1, "strong", "d"))
