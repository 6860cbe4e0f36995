"""What nothing needs any more goes with its files, and nothing else ever does."""

import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import promotion, registry, tidy
from helpers.stores.folder import mend_addresses
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial, product_name
from tests.support.moves import product
from tests.support.services import PROFILES, address, in_this_process

OLD = Trial("linear", {"C": 1.0}, 1, "strong", "old")
CASES = ["nothing", "champion", "former", "challenger", "was challenger", "alias", "start", "worst", "gate", "twin"]
COPIED = ["champion", "former", "challenger", "was challenger", "worst", "gate"]


def copy(version: ModelVersion, description: str = "") -> ModelVersion:
    made = Client().copy_model_version(f"models:/{version.name}/{version.version}", product_name())
    Client().update_model_version(product_name(), made.version, description=description)
    return made


def point(alias: str, version: ModelVersion) -> None:
    Client().set_registered_model_alias(version.name, alias, version.version)


@pytest.fixture(scope="module")
def filled(empty_store, tmp_path_factory, split) -> Path:
    """A store with a candidate of an old sweep for each case, the copies of some, and one candidate of the newest."""
    folder = tmp_path_factory.mktemp("filled") / "store"
    shutil.copytree(empty_store, folder)
    mend_addresses(folder)
    use_store(str(folder))
    trials = {case: replace(OLD, seed=seed) for seed, case in enumerate(CASES)}
    made = {case: run_trial(trial, split) for case, trial in trials.items()}
    run_trial(replace(OLD, start=trials["start"].key, data="older"), split)
    words = {"was challenger": "The challenger: the best of nine.", "worst": "The worst candidate."}
    copies = {case: copy(made[case], words.get(case, "")) for case in COPIED}
    point("champion", copies["former"])
    promotion.promote(copies["champion"], copies["former"], "forced", "for a test")
    Client().delete_registered_model_alias(product_name(), "previous")
    point("challenger", copies["challenger"])
    point("practice", made["alias"])
    Client().set_model_version_tag(product_name(), copies["gate"].version, "gate", "refused")
    Client().create_registered_model("by-hand")
    Client().copy_model_version(f"models:/{made['twin'].name}/{made['twin'].version}", "by-hand")
    product(len(COPIED) + 1)  # a version of which nobody knows the data
    early = run_trial(replace(OLD, seed=99, data="new"), split)
    copy(early)
    Client().delete_model_version(early.name, early.version)
    run_trial(replace(OLD, data="new"), split)
    return folder


@pytest.fixture
def place(filled, tmp_path) -> Path:
    """A copy of the filled store, in use."""
    shutil.copytree(filled, tmp_path / "store")
    mend_addresses(tmp_path / "store")
    use_store(str(tmp_path / "store"))
    return tmp_path / "store"


def candidate(case: str) -> pd.DataFrame:
    return row(OLD.model, CASES.index(case) + 1)


def copy_of(case: str) -> pd.DataFrame:
    return row(product_name(), COPIED.index(case) + 1)


def row(model: str, version: int) -> pd.DataFrame:
    return pd.DataFrame({"model": [model], "version": [version]})


def keys(rows: pd.DataFrame) -> set[tuple[str, int]]:
    return set(rows[["model", "version"]].itertuples(index=False, name=None))


def all_versions() -> set[tuple[str, int]]:
    return {(version.name, int(version.version)) for version in Client().search_model_versions("")}


def files(place: Path) -> set[Path]:
    return {path for path in (place / "artifacts").rglob("*") if path.is_file()}


def ids_of(model: str, version: int) -> list[str]:
    """The ids that the places of a version's files bear."""
    found = Client().get_model_version(model, str(version))
    return [found.run_id, *registry.logged_models(mlflow.get_run(found.run_id))]


FIRST = {(OLD.model, CASES.index("nothing") + 1), (OLD.model, len(CASES) + 1), (product_name(), 5)}
FIRST |= {(OLD.model, CASES.index("twin") + 1)}  # which delete keeps


def test_what_nothing_needs_is_listed_and_nothing_else(place):
    rows = tidy.stale("new")
    assert keys(rows) == FIRST
    assert list(rows) == ["model", "version", "run_id", "trial", "why"]
    first = rows[rows["version"] == 1].iloc[0]
    assert (first["trial"], first["why"]) == (replace(OLD, seed=0).key, "made for other games (old)")
    assert len(files(place)) > 100


def test_nothing_is_older_than_a_sweep_that_never_was(place):
    assert tidy.stale("never seen").empty
    assert tidy.stale("old").empty


def test_what_is_listed_goes_with_its_files_and_the_rest_stays(place):
    before, there, rows = all_versions(), files(place), tidy.stale("new")
    gone = [name for key in FIRST - {(product_name(), 5), (OLD.model, 10)} for name in ids_of(*key)]
    done = tidy.delete(rows).set_index(["model", "version"])
    assert before - all_versions() == FIRST - {(OLD.model, 10)}
    assert tuple(done.loc[OLD.model, 10]) == ("kept", "a version of by-hand came from its run")
    assert tuple(done.loc[product_name(), 5]) == ("deleted", "another version has them, too")
    assert [tuple(done.loc[OLD.model, number]) for number in (1, 11)] == [("deleted", "")] * 2
    assert there - files(place) == {path for path in there if set(path.parts) & set(gone)}
    assert len(gone) == 4
    # What had to wait for the copy and for the further training goes now, and then nothing is left to do.
    rows = tidy.stale("new")
    assert keys(rows) == {(OLD.model, CASES.index(case) + 1) for case in ("start", "worst", "twin")}
    assert tidy.delete(rows)["outcome"].tolist() == ["deleted", "deleted", "kept"]
    assert keys(tidy.stale("new")) == {(OLD.model, 10)}
    assert set(tidy.delete(rows)["outcome"]) == {"gone", "kept"}
    for version in Client().search_model_versions(""):
        if "candidate" in version.tags:
            registry.load(version)


def test_a_refit_stays_because_a_forecast_may_lie_with_its_run(place):
    Client().set_model_version_tag(product_name(), "5", "refit_of", "1")
    assert keys(tidy.stale("new")) == FIRST - {(product_name(), 5)}
    done = tidy.delete(copy_of("worst")).iloc[0]
    assert (done["outcome"], done["reason"]) == ("kept", "it is a refit, and its run may hold a forecast")


REASONS = {
    "champion": "it is or was champion",
    "former": "it is or was champion",
    "challenger": "an alias points to it",
    "was challenger": "it is or was challenger",
    "gate": "it is or was challenger",
}


@pytest.mark.parametrize("case", REASONS)
def test_what_is_or_was_champion_or_challenger_is_kept(place, case):
    before, there = all_versions(), files(place)
    assert tidy.delete(copy_of(case)).iloc[0].tolist() == [*copy_of(case).iloc[0], "kept", REASONS[case]]
    said = tidy.delete(candidate(case)).iloc[0].tolist()
    assert said[2:] == ["kept", f"a version of {product_name()} came from it"]
    assert (all_versions(), files(place)) == (before, there)
    assert keys(tidy.stale("new")) == FIRST


@pytest.mark.parametrize(
    ("case", "reason"), [("alias", "an alias points to it"), ("start", "another trial started from it")]
)
def test_a_candidate_that_is_pointed_to_is_kept(place, case, reason):
    assert tidy.delete(candidate(case)).iloc[0].tolist()[2:] == ["kept", reason]
    assert len(files(place)) == len(files(place.parent.parent / place.parent.name / "store"))


def test_previous_is_kept_by_its_alias_alone(place):
    point("previous", Client().get_model_version(product_name(), "5"))
    assert keys(tidy.stale("new")) == FIRST - {(product_name(), 5)}
    assert tidy.delete(copy_of("worst")).loc[0, "reason"] == "an alias points to it"


def test_what_is_promoted_after_it_was_listed_is_kept(place):
    rows = tidy.stale("new")
    worst = Client().get_model_version(product_name(), "5")
    promotion.promote(worst, promotion.holder("champion"), "forced", "somebody insisted")
    done = tidy.delete(rows[rows["model"] == product_name()])
    assert done.loc[0, ["outcome", "reason"]].tolist() == ["kept", "it is or was champion"]
    assert promotion.deleted() == ""


def test_what_is_copied_after_it_was_listed_is_kept(place):
    rows = tidy.stale("new")
    copy(Client().get_model_version(OLD.model, "1"))
    done = tidy.delete(rows[rows["version"] == 1])
    assert done["reason"].tolist() == [f"a version of {product_name()} came from it"]


def test_what_was_edited_or_belongs_to_others_is_kept(place):
    Client().set_model_version_tag(OLD.model, "1", "trial", "x' OR name LIKE '%")
    assert (OLD.model, 1) not in keys(tidy.stale("new"))
    assert tidy.delete(candidate("nothing"))["reason"].tolist() == ["its tags were edited"]
    said = "it is neither a candidate nor a version of march-madness"
    assert tidy.delete(row("by-hand", 1))["reason"].tolist() == [said]


def test_a_trial_at_work_is_kept(place):
    version = Client().get_model_version(OLD.model, "1")
    Client().update_run(version.run_id, "RUNNING")
    assert tidy.delete(candidate("nothing"))["reason"].tolist() == ["its run is at work"]


STEPS = ["set_registered_model_tag", "delete_model_version", "delete_run", "finalize_logged_model"]
STEPS += ["delete_logged_model", "delete_registered_model_tag"]


@pytest.mark.parametrize("step", STEPS)
def test_what_died_half_way_is_finished_by_the_next_call(place, monkeypatch, step):
    there, owners = files(place), ids_of(OLD.model, 1)
    honest = getattr(mlflow.MlflowClient, step)

    def deadly(*args: object) -> None:
        honest(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, step, deadly)
        with pytest.raises(KeyboardInterrupt):
            tidy.delete(candidate("nothing"))
    half = files(place) < there
    assert not half or registry.version_of(OLD.model, "1") is None
    rows = tidy.stale("new")
    assert ((OLD.model, 1) in keys(rows)) == (step != STEPS[-1])
    tidy.delete(rows[(rows["model"] == OLD.model) & (rows["version"] == 1)])
    assert there - files(place) == {path for path in there if set(path.parts) & set(owners)}
    assert keys(tidy.stale("new")) == FIRST - {(OLD.model, 1)}
    assert Client().get_registered_model(OLD.model).tags == {}


def test_files_that_were_deleted_in_part_are_deleted_in_the_end(place, monkeypatch):
    there, owners = files(place), ids_of(OLD.model, 1)

    def half(path: str) -> None:
        Path(path, "MLmodel").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            tidy.delete(candidate("nothing"))
    assert mlflow.get_logged_model(owners[1]).status == "FAILED"
    assert tidy.delete(tidy.stale("new").head(1))["outcome"].tolist() == ["deleted"]
    assert there - files(place) == {path for path in there if set(path.parts) & set(owners)}


def test_a_version_that_was_begun_with_and_promoted_since_is_kept(place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "delete_model_version", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tidy.delete(candidate("nothing"))
    point("practice", Client().get_model_version(OLD.model, "1"))
    rows = tidy.stale("new")
    assert rows["why"].iloc[0] == "its deletion was begun"
    assert tidy.delete(rows.head(1))["outcome"].tolist() == ["kept"]
    assert Client().get_registered_model(OLD.model).tags == {}


def test_a_mark_that_names_another_run_deletes_nothing(place):
    there = files(place)
    (move,) = mlflow.search_runs(experiment_names=["march-madness-promotions"], max_results=1)["run_id"]
    champion = promotion.holder("champion")
    for run_id in (move, champion.run_id, "none"):
        Client().set_registered_model_tag(OLD.model, f"{tidy.BEGUN}77", run_id)
        assert tidy.delete(row(OLD.model, 77))["reason"].iloc[0]
    assert files(place) == there
    assert mlflow.get_run(move).info.lifecycle_stage == "active"
    assert mlflow.get_run(champion.run_id).info.lifecycle_stage == "active"


def test_a_place_that_is_shared_is_not_emptied(tmp_path):
    (tmp_path / "file").touch()
    assert tidy._delete_files("abc", tmp_path.as_uri()) == "they lie at a place that is not theirs alone"
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("error", [NotImplementedError(), mlflow.MlflowException("Not implemented yet")])
def test_a_store_that_cannot_delete_files_says_so(place, monkeypatch, error):
    def unable(*_: object) -> None:
        raise error

    there = files(place)
    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.delete_artifacts", unable)
    done = tidy.delete(candidate("nothing"))
    assert done.loc[0, ["outcome", "reason"]].tolist() == ["deleted", "this store cannot delete files"]
    assert files(place) == there
    assert registry.version_of(OLD.model, "1") is None
    assert keys(tidy.stale("new")) == FIRST - {(OLD.model, 1)}


def test_a_fault_of_the_network_is_no_inability(place, monkeypatch):
    def away(*_: object) -> None:
        raise mlflow.MlflowException("away")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.delete_artifacts", away)
        with pytest.raises(mlflow.MlflowException, match="away"):
            tidy.delete(candidate("nothing"))
    assert tidy.delete(tidy.stale("new").head(1))["reason"].tolist() == [""]


@pytest.mark.parametrize("scheme", PROFILES)
def test_it_is_the_same_on_any_service(scheme, tmp_path, split):
    with in_this_process():
        use_store(address(scheme, tmp_path))
        made = [run_trial(replace(OLD, seed=seed), split) for seed in (1, 2, 3)]
        run_trial(replace(OLD, start=made[2].tags["trial"], data="older"), split)
        run_trial(replace(OLD, data="new"), split)
        first, second = (copy(version) for version in made[:2])
        point("champion", first)
        promotion.record_by_hand()
        point("champion", second)
        assert keys(tidy.stale("new")) == {(made[0].name, 4)}
        rows = pd.concat([row(version.name, int(version.version)) for version in (first, second, *made)])
        reasons = [*["it is or was champion"] * 2, *[f"a version of {product_name()} came from it"] * 2]
        assert tidy.delete(rows)["reason"].tolist() == [*reasons, "another trial started from it"]
        assert promotion.history()["to"].tolist() == ["1", "2"]  # what was moved by hand was noticed before
        assert tidy.delete(tidy.stale("new"))["reason"].tolist() == [""]
        assert tidy.delete(tidy.stale("new"))["outcome"].tolist() == ["deleted"]
        assert tidy.stale("new").empty
        kept = [set(path.parts) for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
        assert [any(version.run_id in parts for parts in kept) for version in made] == [True, True, False]
