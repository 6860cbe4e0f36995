"""A version is packed, checked, and registered elsewhere with its lineage; what was changed on the way is refused."""

import getpass
import json
import platform
import shutil
import subprocess
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion
from packaging.requirements import Requirement

from helpers import candidates, carry, claims, promotion, registry
from helpers.stores.folder import mend_addresses
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial, experiment_name, product_name
from tests.conftest import ROOT
from tests.support.services import PROFILES, address, in_this_process
from tests.support.work import SPLIT

LOCK = ROOT / "requirements.lock"
GAMES = SPLIT.test.head(20)
TRIAL = Trial("linear", {"C": 0.1}, 1, "strong", "made-up")


@pytest.fixture(scope="module")
def here(empty_store, tmp_path_factory) -> str:
    """A store with a champion that came through the gate."""
    store = str(shutil.copytree(empty_store, tmp_path_factory.mktemp("here") / "store"))
    mend_addresses(Path(store))
    use_store(store)
    version = run_trial(TRIAL, SPLIT)
    champion = Client().copy_model_version(f"models:/{version.name}/{version.version}", product_name())
    Client().set_model_version_tag(champion.name, champion.version, "gate", "passed")
    promotion.promote(champion, None, "gate", "the first")
    return store


@pytest.fixture
def champion(here) -> ModelVersion:
    use_store(here)
    return promotion.holder("champion")


@pytest.fixture(scope="module")
def packed_once(here, tmp_path_factory) -> Path:
    use_store(here)
    folder = tmp_path_factory.mktemp("packed") / "carried"
    assert carry.pack(promotion.holder("champion"), folder, GAMES, LOCK) == ""
    return folder


@pytest.fixture
def packed(packed_once, tmp_path) -> Path:
    """A packed champion, to be spoilt."""
    return shutil.copytree(packed_once, tmp_path / "carried")


@pytest.fixture
def there(packed, store) -> str:
    """Another store, in use."""
    return str(store)


def lineage(folder: Path) -> dict:
    return json.loads((folder / "lineage.json").read_text())


def sum_again(folder: Path) -> None:
    """Write the sums anew, as somebody would who changes a file on purpose."""
    sums = subprocess.run(
        "find . -type f ! -name SHA256SUMS -printf '%P\\0' | xargs -0 sha256sum > SHA256SUMS", shell=True, cwd=folder
    )
    assert sums.returncode == 0


def test_a_packed_folder_is_whole_by_the_word_of_sha256sum(packed):
    checked = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=packed, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    files = {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == files
    assert {"lineage.json", "games.csv", "requirements.txt", "model/MLmodel"} < files


def test_a_packed_folder_says_where_it_comes_from(packed, champion):
    said = lineage(packed)
    run = mlflow.get_run(champion.run_id)
    assert (said["model"], said["version"]) == (champion.name, str(champion.version))
    assert (said["run"], said["trial"], said["data"]) == (champion.run_id, TRIAL.key, "made-up")
    assert said["digest"] == champion.tags["digest"]
    assert said["files"] == registry.digest(packed / "model")
    assert said["params"] == TRIAL.made_of
    assert said["scores"] == run.data.metrics
    assert (said["tags"], said["aliases"], said["store"]) == ({"gate": "passed"}, ["champion"], "sqlite")


def test_only_the_label_of_a_model_changes_on_the_way(packed, champion, tmp_path):
    registered, carried = registry.fetch(champion, str(tmp_path / "copy")), packed / "model"
    names = {str(path.relative_to(carried)) for path in carried.rglob("*") if path.is_file()}
    there = {str(path.relative_to(registered)) for path in registered.rglob("*") if path.is_file()}
    assert names == there - {"registered_model_meta"}
    assert [name for name in names if (carried / name).read_bytes() != (registered / name).read_bytes()] == ["MLmodel"]
    before, after = (mlflow.models.Model.load(str(folder)).to_dict() for folder in (registered, carried))
    assert {name for name in before if before[name] != after.get(name)} == {"artifact_path", "model_id"}


def test_nothing_of_this_machine_goes_along(packed, here):
    words = [here, str(Path(here).parent), str(ROOT), str(Path.home()) + "/", platform.node(), f'"{getpass.getuser()}"']
    for path in (path for path in packed.rglob("*") if path.is_file()):
        text = path.read_bytes()
        assert [word for word in words if word.encode() in text] == [], path


def test_a_folder_that_holds_something_is_not_packed_into(champion, tmp_path):
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(ValueError, match="is not empty: pack into a new folder"):
        carry.pack(champion, tmp_path, GAMES, LOCK)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_games_that_tell_nothing_are_refused(champion, tmp_path):
    for games in (GAMES.head(1), GAMES.head(0)):
        with pytest.raises(ValueError, match=f"The model gives {len(games)} games one answer"):
            carry.pack(champion, tmp_path / "carried", games, LOCK)
    assert not (tmp_path / "carried").exists()


def test_a_version_that_does_not_count_is_not_carried(store, tmp_path):
    version = run_trial(TRIAL, SPLIT)
    Client().set_model_version_tag(version.name, version.version, "trial", "another")
    with pytest.raises(RuntimeError, match=r"march-madness-linear version 1 does not count \(its tags were edited\)"):
        carry.pack(version, tmp_path / "carried", GAMES, LOCK)
    assert not (tmp_path / "carried").exists()


def test_what_was_packed_is_registered_elsewhere_and_answers_the_same(packed, champion, there):
    version = carry.unpack(packed, product_name())
    answers = pd.read_csv(packed / "games.csv")["Prediction"]
    assert np.allclose(registry.load(version).predict(GAMES), answers, rtol=0, atol=1e-12)
    said = {tag: value for tag, value in version.tags.items() if tag.startswith("from_")}
    scores = {f"from_{name}": f"{value:.6f}" for name, value in lineage(packed)["scores"].items()}
    assert said == scores | {
        "from_model": "march-madness",
        "from_version": "1",
        "from_run": champion.run_id,
        "from_trial": TRIAL.key,
        "from_digest": champion.tags["digest"],
        "from_data": "made-up",
        "from_aliases": "champion",
    }
    assert registry.trial_of(version) == TRIAL
    assert promotion.holder("champion") is None


def test_what_was_registered_elsewhere_can_become_champion_there(packed, there):
    version = carry.unpack(packed, product_name())
    assert promotion.promote(version, None, "carried", "chosen elsewhere")
    assert registry.champion("made-up").version == version.version
    assert promotion.history()["model"].tolist() == ["linear carried from march-madness 1"]


def test_what_was_registered_elsewhere_can_be_carried_on(packed, there, tmp_path):
    version = carry.unpack(packed, product_name())
    carry.pack(version, tmp_path / "on", GAMES, LOCK)
    assert lineage(tmp_path / "on")["tags"]["from_trial"] == TRIAL.key


def test_registering_twice_adds_nothing(packed, there):
    first = carry.unpack(packed, product_name())
    runs = len(mlflow.search_runs(search_all_experiments=True))
    assert carry.unpack(packed, product_name()).version == first.version
    assert len(registry.search_versions(f"name = '{product_name()}'")) == 1
    assert len(mlflow.search_runs(search_all_experiments=True)) == runs == 1


def test_what_was_carried_is_no_candidate_with_a_score_of_its_own(packed, there):
    version = carry.unpack(packed, TRIAL.model)
    with pytest.raises(LookupError, match="it was not registered by a trial"):
        candidates.leaderboard("made-up")
    with pytest.raises(LookupError, match="it was not registered by a trial"):
        candidates.best_version("made-up")
    assert mlflow.get_run(version.run_id).data.metrics == {}
    trained = run_trial(TRIAL, SPLIT)
    assert trained.version != version.version
    assert candidates.best_version("made-up").version == trained.version


@pytest.mark.parametrize("scheme", PROFILES)
def test_a_version_is_carried_to_a_service_that_lacks_something_and_back(packed, store, scheme, tmp_path):
    with in_this_process():
        use_store(address(scheme, tmp_path / "service"))
        version = carry.unpack(packed, product_name())
        assert carry.unpack(packed, product_name()).version == version.version
        promotion.promote(version, None, "carried", "chosen elsewhere")
        carry.pack(version, tmp_path / "back", GAMES, LOCK)
    said = lineage(tmp_path / "back")
    assert (said["aliases"], said["store"]) == (["champion"], scheme)
    assert said["tags"]["from_aliases"] == "champion"
    use_store(str(store))
    back = carry.unpack(tmp_path / "back", product_name())
    assert np.allclose(registry.load(back).predict(GAMES), pd.read_csv(packed / "games.csv")["Prediction"], atol=1e-12)


def test_the_run_there_keeps_what_came_along(packed, there):
    version = carry.unpack(packed, product_name())
    for name in ("lineage.json", "games.csv", "requirements.txt"):
        assert mlflow.artifacts.load_text(f"runs:/{version.run_id}/{name}") == (packed / name).read_text()
    assert mlflow.get_run(version.run_id).data.params == {name: str(value) for name, value in TRIAL.made_of.items()}


def refused(packed: Path, what: str) -> None:
    with pytest.raises(RuntimeError, match=what):
        carry.unpack(packed, product_name())
    assert mlflow.search_model_versions() == []


FILES = ["model/data/data/model.skops", "model/MLmodel", "games.csv", "lineage.json", "requirements.txt"]


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_is_refused_before_anything_is_loaded(packed, there, file, monkeypatch):
    monkeypatch.setattr(registry, "load_folder", lambda folder: pytest.fail("it was loaded"))
    text = bytearray((packed / file).read_bytes())
    text[len(text) // 2] ^= 1
    (packed / file).write_bytes(text)
    refused(packed, rf"carried is not as it was packed \({file} was changed\); nothing was loaded")


def test_a_missing_or_added_file_is_refused(packed, there):
    (packed / "model" / "conda.yaml").rename(packed / "model" / "more.yaml")
    refused(packed, r"\(model/conda.yaml is missing, model/more.yaml was added\)")


def test_a_folder_that_was_not_packed_to_the_end_is_refused(packed, there):
    (packed / "SHA256SUMS").unlink()
    refused(packed, "has no SHA256SUMS: it was not packed to the end")


def test_a_folder_that_is_not_there_or_lacks_its_lineage_is_refused(packed, there):
    refused(packed / "elsewhere", "There is no folder .*elsewhere: give the one that was packed")
    (packed / "lineage.json").unlink()
    sum_again(packed)
    refused(packed, r"\(lineage.json is missing\)")


def test_another_model_is_refused_though_the_sums_were_made_anew(packed, there):
    with (packed / "model" / "conda.yaml").open("a") as file:
        file.write("# more\n")
    sum_again(packed)
    refused(packed, r"\(model/ is not the one of lineage.json\)")


def test_other_answers_are_refused(packed, there):
    games = pd.read_csv(packed / "games.csv")
    games.loc[3, "Prediction"] += 1e-4
    games.to_csv(packed / "games.csv", index=False)
    sum_again(packed)
    refused(packed, r"The model answers up to 0\.0001 apart from games\.csv")
    assert mlflow.search_runs(search_all_experiments=True).empty


def test_a_model_that_does_not_load_here_is_refused(packed, there, monkeypatch):
    monkeypatch.setattr(registry, "load_folder", lambda folder: folder.multi_class)
    refused(packed, r"cannot be used here \(AttributeError: .*multi_class.*\): install its requirements\.txt first")
    assert mlflow.search_runs(search_all_experiments=True).empty


def test_a_model_that_was_asked_in_the_folder_can_still_be_registered(packed, there):
    """By its pyfunc, whose code Python compiles there; what lies in a __pycache__ is not taken along."""
    cache = packed / "model" / "code" / "__pycache__"
    cache.mkdir()
    (cache / "planted.pyc").write_bytes(b"anything")
    version = carry.unpack(packed, product_name())
    place = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    assert list(place.rglob("*.pyc")) == []


@pytest.mark.parametrize("died_after", ["log_folder", "register"])
def test_a_call_that_died_is_finished_by_the_next(packed, there, died_after, monkeypatch):
    """As a kill leaves it: the run is open, and its process gone."""
    honest = getattr(registry, died_after)

    def deadly(*args: object) -> None:
        honest(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, died_after, deadly)
        patch.setattr(mlflow.MlflowClient, "set_terminated", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            carry.unpack(packed, product_name())
    left = registry.search_versions(f"name = '{product_name()}'")
    assert [registry.counts(version) for version in left] == [False] * (died_after == "register")
    version = carry.unpack(packed, product_name())
    assert registry.counts(version)
    assert [found.version for found in registry.search_versions(f"name = '{product_name()}'")] == [version.version]
    assert registry.load(version).predict(GAMES).shape == (20,)


def test_two_processes_do_not_register_it_at_once(packed, there):
    key = f"carried-{lineage(packed)['files'][:16]}"
    run = claims.claim(experiment_name("linear"), key, "another")
    with pytest.raises(RuntimeError, match="Another process is registering this model as march-madness; wait for it"):
        carry.unpack(packed, product_name())
    with claims.held(run.info.run_id):
        pass
    assert carry.unpack(packed, product_name())


def test_the_requirements_are_those_of_the_model_with_the_hashes_of_the_lock(packed):
    lines = (packed / "requirements.txt").read_text()
    blocks = [block for block in LOCK.read_text().split("\n") if block and not block.startswith(" ")]
    held = [line for line in lines.split("\n") if line and not line.startswith(" ")]
    assert set(held) < set(blocks)
    names = {Requirement(line.rstrip("\\ ")).name for line in held}
    own = {Requirement(line).name for line in (packed / "model" / "requirements.txt").read_text().split()}
    assert own < names
    assert {"joblib", "sqlalchemy", "waitress"} < names  # what others need, on Windows too
    assert not {"tensorflow", "jupyterlab", "pytest", "optuna"} & names
    assert lines.count("--hash=sha256:") > len(held)
