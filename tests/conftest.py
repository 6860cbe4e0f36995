"""What the tests share: small leagues, the same as CSV files, a store of their own, and a look at what they leave."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import mlflow
import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from mlflow.entities.model_registry import ModelVersion

from helpers import registry, surroundings
from helpers.features import FEATURE_SETS, Split, fingerprint, matchup_table, split_by_season
from helpers.games import Games
from helpers.simulate import simulate_games
from helpers.stores.folder import mend_addresses
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "regular": "RegularSeasonDetailedResults.csv",
    "tourney": "NCAATourneyCompactResults.csv",
    "seeds": "NCAATourneySeeds.csv",
    "slots": "NCAATourneySlots.csv",
    "teams": "Teams.csv",
}

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
hypothesis.settings.register_profile("project", database=None, deadline=None, max_examples=50)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="the folder whose pictures of MLflow's pages are to be renewed")


@pytest.fixture(autouse=True)
def nothing_was_set_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps what set_tracking_uri and set_experiment were told for the process; a later test would find it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A run in the background, as behind nohup, ignores Ctrl-C, and so would the kernels that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_appears_in_the_repository(request: pytest.FixtureRequest):
    """Whatever the tests write goes to temporary folders, but for the pictures that were asked for."""
    before = _files()
    yield
    assert request.config.getoption("pictures") or _files() - before == set()


def _files() -> set[Path]:
    passed_over = {".git", ".venv", "__pycache__"}
    return {path for path in ROOT.rglob("*") if path.is_file() and not passed_over & set(path.parts)}


@pytest.fixture(scope="session")
def games() -> Games:
    """Six simulated seasons of both leagues."""
    return simulate_games(seed=5, seasons=range(2015, 2021))


@pytest.fixture(scope="session")
def split(games: Games) -> Split:
    return split_by_season(matchup_table(games), validation_seasons=1, test_seasons=1)


@pytest.fixture(scope="session")
def columns() -> list[str]:
    return FEATURE_SETS["strong"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment to spoil: what was taken hold of is given back before it is as it was."""
    surroundings.give_back()
    yield monkeypatch
    surroundings.give_back()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, for making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty") / "store"
    use_store(str(folder))
    return folder


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Iterator[Path]:
    """An empty store of the test's own, in use."""
    shutil.copytree(empty_store, tmp_path / "store")
    mend_addresses(tmp_path / "store")
    use_store(str(tmp_path / "store"))
    yield tmp_path / "store"
    while mlflow.active_run():  # a claim that a test did not give up
        mlflow.end_run()


@pytest.fixture(scope="module")
def trial(split: Split) -> Trial:
    return Trial("small", {"learning_rate": 0.01, "epochs": 2}, 3, "strong", fingerprint(split))


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, trial: Trial, split: Split) -> Path:
    """A store with one finished trial."""
    folder = tmp_path_factory.mktemp("ein Störe, used")
    use_store(str(folder))
    run_trial(trial, split)
    return folder


@pytest.fixture
def version(used: Path, trial: Trial) -> ModelVersion:
    """The version of the finished trial, with its store in use."""
    use_store(str(used))
    return registry.find_version(trial.model, trial.key)


def write_csv(games: Games, folder: Path, leagues: str = "MW") -> Path:
    """The games as Kaggle's files, without what only a simulator knows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in FILES.items():
        table = getattr(games, name)
        known = [column for column in table if column not in ("League", "WTrueProb", "Conference")]
        for league in leagues:
            table.loc[table["League"] == league, known].to_csv(folder / f"{league}{file}", index=False)
    return folder
