"""Every notebook a second time on the store that it left: nothing is added, and it shows the same."""

import shutil
from pathlib import Path

import mlflow
import papermill
import pytest

from helpers import NOTEBOOKS
from helpers.simulate import simulate_games
from helpers.stores.folder import mend_addresses
from helpers.stores.store import use_store
from helpers.tools import execute
from helpers.trials import PRODUCT
from tests.conftest import write_csv
from tests.support.contents import contents
from tests.support.names import CANDIDATES
from tests.test_notebooks import PATHS, SMALL, check_complete, check_nothing_foreign, code_cells, every_notebook

# Words of the cells in 00 to 02 that show what is in the store at a training, which a used one tells otherwise.
SHOWS_THE_STORE = (
    '"new" if found',
    "experiment_names=[trial.experiment]",
    "known = leaderboard(",
    "versions[:1]",
    "run_sweep(",
)


@pytest.fixture(scope="module")
def executions(tmp_path_factory) -> list[tuple[Path, dict]]:
    """The whole chain on an empty store, then again on the used one: the folder of outputs and the store's contents.

    And once more from 03 to 06, into the folder again within the second; 07 changes nothing of the store.
    """
    folder, results = tmp_path_factory.mktemp("chain"), []
    given, again = {**SMALL, "STORE": str(folder / "store")}, folder / "second" / "again"
    for name in ("first", "second"):
        execute.execute_notebooks(folder / name, given)
        results.append((folder / name, contents(given["STORE"])))
    again.mkdir()
    execute.execute_some([path for path in PATHS if "03" <= path.stem < "07"], again, given)
    assert contents(given["STORE"]) == results[1][1]
    return results


def test_the_chain_on_a_used_store_changes_nothing(executions):
    assert executions[1][1] == executions[0][1]


@every_notebook
def test_every_cell_ran_in_order_without_a_word_on_stderr_and_shows_nothing_foreign(executions, path):
    for folder, _ in executions:
        check_complete(folder / path.name)
        check_nothing_foreign(folder / path.name)


@every_notebook
def test_a_second_execution_shows_the_same(executions, path):
    """From 03 on the second is held against a third: by then the champion may be the one that 06 let through.

    07, which comes after 06 both times, has met the same champion in both.
    """
    first, second = (folder / path.name for folder, _ in executions)
    if "03" <= path.stem < "07":
        first, second = second, second.parent / "again" / path.name
    for cell, again in zip(code_cells(first), code_cells(second), strict=True):
        if path.stem >= "03" or not any(words in cell.source for words in SHOWS_THE_STORE):
            assert [without_widgets(output) for output in cell.outputs] == [
                without_widgets(output) for output in again.outputs
            ], cell.source


def without_widgets(output) -> dict:
    """An output without a live widget, whose name is random."""
    return {**output, "data": {kind: data for kind, data in output.get("data", {}).items() if "widget" not in kind}}


def test_one_league_from_csv_files_runs_through_the_same_notebooks(tmp_path):
    source = write_csv(simulate_games(seed=9, seasons=range(2014, 2020)), tmp_path / "games", leagues="W")
    rates = [0.01, 0.1]
    given = {**SMALL, "SOURCE": str(source), "STORE": str(tmp_path / "store"), "LEARNING_RATES": rates}
    execute.execute_notebooks(tmp_path / "build", given)
    held = contents(str(tmp_path / "store"))
    assert len(held["grid"]) == 3 * len(rates)
    assert held["products"] == [1, 2, 3, 4, 5]  # grid's best, trained further, challenger, worst, refit
    assert held["aliases"] == {"champion": held["champion"][0], "challenger": 3, "previous": 4, "forecast": 5}


# What a launcher and a start-up file left

START_UP = """
import mlflow
mlflow.autolog()
import keras
keras.config.set_dtype_policy("mixed_bfloat16")
keras.config.set_epsilon(3.0)
"""


def test_a_launchers_variables_and_a_start_up_file_steer_nothing(executions, tmp_path, environment):
    """With papermill itself, whose kernel starts as a reader's does: notebooks 01 to 03 with other rates."""
    store, startup = tmp_path / "store", tmp_path / "ipython" / "profile_default" / "startup"
    shutil.copytree(executions[0][0].parent / "store", store)
    mend_addresses(store)
    use_store(str(store))
    client = mlflow.MlflowClient()
    champion = client.get_model_version_by_alias(PRODUCT, "champion")
    (model,) = [output.model_id for output in client.get_run(champion.run_id).outputs.model_outputs]
    before = everything(client)
    startup.mkdir(parents=True)
    (startup / "00.py").write_text(START_UP)
    for name, value in {
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "MLFLOW_RUN_ID": champion.run_id,
        "MLFLOW_ACTIVE_MODEL_ID": model,
        "MLFLOW_EXPERIMENT_NAME": CANDIDATES[2],
        "MLFLOW_REGISTRY_URI": f"sqlite:///{tmp_path / 'elsewhere.db'}",
        "KERAS_MAX_EPOCHS": "1",
    }.items():
        environment.setenv(name, value)
    for number in ("01", "02", "03"):
        (path,) = [path for path in PATHS if path.stem.startswith(number)]
        declared = papermill.inspect_notebook(str(path))
        other = {**SMALL, "STORE": str(store), "LEARNING_RATES": [0.002, 0.02]}
        parameters = {name: value for name, value in other.items() if name in declared}
        papermill.execute_notebook(path, tmp_path / path.name, parameters, cwd=NOTEBOOKS, progress_bar=False)
    use_store(str(store))
    after = everything(client)
    assert {name: after[name] for name in before} == before
    made = [name for name in set(after) - set(before) if name[0] in CANDIDATES]
    assert sorted(name for name, _ in made) == sorted(2 * CANDIDATES)
    assert len(after) - len(before) - sum(name[0] == PRODUCT for name in set(after) - set(before)) == 3 * len(made)
    assert not (tmp_path / "elsewhere.db").exists()
    assert not (NOTEBOOKS / "mlruns").exists()


def everything(client: mlflow.MlflowClient) -> dict[object, object]:
    """All runs, logged models and versions of a store, as they are."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = {run.info.run_id: run.to_dictionary() for run in client.search_runs(ids)}
    models = {model.model_id: model.to_dictionary() for model in client.search_logged_models(ids)}
    versions = {(v.name, int(v.version)): (v.tags, v.run_id, v.description) for v in client.search_model_versions()}
    return {**runs, **models, **versions}
