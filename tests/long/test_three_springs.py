"""Three years of a registry: each spring new files and the same notebooks, twice; nothing doubled, and a story told."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import papermill
import pytest

from helpers import NOTEBOOKS, promotion, registry
from helpers.features import Split, fingerprint, matchup_table, split_by_season
from helpers.games import Games
from helpers.simulate import simulate_games
from helpers.stores.folder import mend_addresses
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.tools import execute
from helpers.trials import PRODUCT
from tests.conftest import write_csv
from tests.support.contents import contents
from tests.support.names import CANDIDATES
from tests.test_notebooks import PATHS, check_complete, check_nothing_foreign, code_cells, every_notebook

YEARS, RATES = (2018, 2019, 2020), [0.01, 0.1]
SCALE = {"EPOCHS": 2, "VALIDATION_SEASONS": 1, "TEST_SEASONS": 1, "TRIALS": 2, "LEARNING_RATES": RATES, "MARGIN": 0.1}
# Words of the cells in 00 to 02 that show what is in the store at a training, which a used one tells otherwise.
SHOWS_THE_STORE = (
    '"new" if found',
    "experiment_names=[trial.experiment]",
    "known = leaderboard(",
    "versions[:1]",
    "run_sweep(",
)


def until(games: Games, year: int) -> Games:
    dated = {name: table for name, table in vars(games).items() if "Season" in table}
    return replace(games, **{name: table[table["Season"] <= year] for name, table in dated.items()})


@pytest.fixture(scope="module")
def games() -> Games:
    """Ten seasons of the women."""
    both = vars(simulate_games(5, range(2011, 2021)))
    return Games(**{name: table[table["League"] == "W"].reset_index(drop=True) for name, table in both.items()})


class Spring:
    """A year's executions of the notebooks by papermill, their outputs in a folder, and what the store holds then."""

    def __init__(self, folder: Path, games: Games, year: int) -> None:
        self.folder, self.year = folder / f"{year}", year
        self.table = matchup_table(until(games, year))
        source = write_csv(until(games, year), self.folder / "games", leagues="W")
        self.given = {**SCALE, "SOURCE": str(source), "STORE": str(folder / "store")}
        self.held = []

    def execute(self, name: str, paths: list[Path]) -> None:
        (self.folder / name).mkdir()
        execute.execute_some(paths, self.folder / name, self.given)
        self.held.append(contents(self.given["STORE"]))

    def note(self) -> None:
        """Keep what 06 left: what the challenger was told, and who forecasts what."""
        client, self.aliases = Client(), self.held[-1]["aliases"]
        self.champion, self.challenger, self.forecaster = (
            client.get_model_version(PRODUCT, str(self.aliases[name]))
            for name in ("champion", "challenger", "forecast")
        )
        self.forecast, self.made_by = (
            mlflow.artifacts.load_text(f"runs:/{self.forecaster.run_id}/batch {self.year}/{file}")
            for file in ("forecast.csv", "made_by.json")
        )


@pytest.fixture(scope="module")
def springs(games, tmp_path_factory) -> list[Spring]:
    """In the first year the whole chain twice, and once more from 03 to 06; then from 01 to 06 twice a year."""
    folder, springs = tmp_path_factory.mktemp("springs"), []
    for year in YEARS:
        spring = Spring(folder, games, year)
        for name in ("first", "second"):
            spring.execute(name, PATHS if year == YEARS[0] else PATHS[1:7])
        if year == YEARS[0]:
            spring.execute("again", PATHS[3:7])
            shutil.copytree(folder / "store", folder / "store of the first")
        spring.note()
        springs.append(spring)
    return springs


def test_one_league_runs_through_the_same_notebooks(springs):
    held = springs[0].held[0]
    assert len(held["grid"]) == 3 * len(RATES)
    assert held["products"] == [1, 2, 3, 4, 5]  # grid's best, trained further, challenger, worst, refit
    assert held["aliases"] == {"champion": 3, "challenger": 3, "previous": 4, "forecast": 5}


def test_a_second_time_adds_nothing_but_what_is_made_of_a_new_champion(springs):
    """In the first year 06 let a challenger through, and 04 trained that further in its turn."""
    first, second, again = springs[0].held
    assert again == second
    assert second["products"] == [*first["products"], 6]
    grown = {"products", "runs"}
    assert [first[name] for name in first if name not in grown] == [second[name] for name in first if name not in grown]
    for spring in springs[1:]:
        assert spring.held[0] == spring.held[1]


def test_the_champion_of_the_gate_is_renewed_each_spring_and_met_by_a_challenger(springs):
    moves = springs[-1].held[-1]["moves"]
    hows = [how for *_, how in moves]
    assert hows[:4] == ["by hand", "gate", "forced", "rolled back"]
    rest = [how for how in hows[4:] if how != "gate"]
    assert rest == ["renewed"] * (len(YEARS) - 1)
    assert [move[0] for move in moves[1:]] == [move[1] for move in moves[:-1]]  # each begins where the last one ended
    for spring in springs:
        told = spring.challenger.tags
        is_same = told["gate_against"] == spring.challenger.version
        assert is_same == (told["gate_reason"] == "it is the champion itself")
        assert is_same or float(told["gate_games"]) > 0


def test_every_year_has_its_champion_its_own_candidates_and_its_forecast(springs):
    history = promotion.history()
    fingerprints = [fingerprint(split_by_season(spring.table, 1, 1)) for spring in springs]
    assert len(set(fingerprints)) == len(YEARS)
    for spring, data in zip(springs, fingerprints, strict=True):
        assert registry.trial_of(spring.champion).data == data
        finished = spring.table[spring.table["Season"] < spring.year]
        assert registry.trial_of(spring.forecaster).data == fingerprint(Split(finished, finished[:0], finished[:0]))
        assert set(pd.read_csv(io.StringIO(spring.forecast))["ID"].str[:4]) == {str(spring.year)}
        assert json.loads(spring.made_by)["refit of"] == int(spring.champion.version)
    renewals = history[history["how"] == "renewed"]
    assert renewals["season"].tolist() == list(YEARS[1:])
    assert renewals["season_brier"].between(0.05, 0.4).all()


def test_who_was_champion_in_each_spring_is_still_known(springs):
    history = promotion.history()
    for move in history.itertuples():
        assert promotion.champion_at(move.when)["to"] == move.to
    assert promotion.moved_by_hand() == ""
    assert pd.Series(history["when"]).is_monotonic_increasing
    assert len(mlflow.search_runs(experiment_names=["march-madness-promotions"])) == len(history)


# What a reader sees of the first year


@every_notebook
def test_every_cell_ran_in_order_without_a_word_on_stderr_and_shows_nothing_foreign(springs, path):
    for name in ("first", "second"):
        check_complete(springs[0].folder / name / path.name)
        check_nothing_foreign(springs[0].folder / name / path.name)


@every_notebook
def test_a_second_execution_shows_the_same(springs, path):
    """From 03 on the second is held against a third: by then the champion may be the one that 06 let through.

    07, which comes after 06 both times, has met the same champion in both.
    """
    names = ("second", "again") if "03" <= path.stem < "07" else ("first", "second")
    first, second = (springs[0].folder / name / path.name for name in names)
    for cell, again in zip(code_cells(first), code_cells(second), strict=True):
        if path.stem >= "03" or not any(words in cell.source for words in SHOWS_THE_STORE):
            assert [without_widgets(output) for output in cell.outputs] == [
                without_widgets(output) for output in again.outputs
            ], cell.source


def without_widgets(output) -> dict:
    """An output without a live widget, whose name is random."""
    return {**output, "data": {kind: data for kind, data in output.get("data", {}).items() if "widget" not in kind}}


# What a launcher and a start-up file left

START_UP = """
import mlflow
mlflow.autolog()
import keras
keras.config.set_dtype_policy("mixed_bfloat16")
keras.config.set_epsilon(3.0)
"""


def test_a_launchers_variables_and_a_start_up_file_steer_nothing(springs, tmp_path, environment):
    """With papermill itself, whose kernel starts as a reader's does: notebooks 01 to 03 with other rates."""
    store, startup = tmp_path / "store", tmp_path / "ipython" / "profile_default" / "startup"
    shutil.copytree(springs[0].folder.parent / "store of the first", store)
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
        other = {**springs[0].given, "STORE": str(store), "LEARNING_RATES": [0.002, 0.02]}
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
