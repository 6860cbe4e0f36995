"""Which versions are candidates for the best model, by either way of asking."""

import json

import mlflow
import numpy as np
import pytest

from helpers import candidates, registry
from helpers.stores.store import use_store
from helpers.trials import PRODUCT, Trial
from tests.support.fill import fill
from tests.support.names import CANDIDATES


def candidate(architecture: str, score: float, data: str = "d", status: str = "FINISHED") -> tuple[str, int]:
    """A registered version with a score and no network behind it."""
    client, name = mlflow.MlflowClient(), f"{PRODUCT}-{architecture}"
    trial = Trial(architecture, {"learning_rate": np.random.default_rng().uniform(), "epochs": 1}, 1, "strong", data)
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(name).experiment_id) as run:
        mlflow.log_params(trial.made_of)
        mlflow.set_tag("trial", trial.key)
        mlflow.log_metric("val_brier", score)
    client.set_terminated(run.info.run_id, status)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = registry.version_tags(trial.key, "", {**trial.made_of, "val_brier": score})
    version = client.create_model_version(name, run.info.artifact_uri, run.info.run_id, tags=tags)
    return name, int(version.version)


def best(data: str = "d") -> tuple[str, int]:
    """The first of the leaderboard, which the one query must agree with."""
    winner, queried = candidates.leaderboard(data).iloc[0], candidates.best_version(data)
    assert (queried.name, int(queried.version)) == (winner["model"], winner["version"])
    return winner["model"], winner["version"]


def run_of(name: str, version: int) -> str:
    return mlflow.MlflowClient().get_model_version(name, str(version)).run_id


def delete_version(name: str, version: int) -> None:
    mlflow.MlflowClient().delete_model_version(name, str(version))


def delete_run(name: str, version: int) -> None:
    mlflow.delete_run(run_of(name, version))


def delete_experiment(name: str, version: int) -> None:
    mlflow.delete_experiment(mlflow.get_experiment_by_name(name).experiment_id)


def leave_running(name: str, version: int) -> None:
    mlflow.MlflowClient().update_run(run_of(name, version), status="RUNNING")


def kill(name: str, version: int) -> None:
    mlflow.MlflowClient().set_terminated(run_of(name, version), "KILLED")


def forget_tags(name: str, version: int) -> None:
    for tag in ("trial", "candidate"):
        mlflow.MlflowClient().delete_model_version_tag(name, str(version), tag)


BAD_SCORES = [np.nan, -np.inf, np.inf, -0.1, 1.5]
DEEDS = {
    delete_version: "",
    delete_run: "its run was deleted",
    delete_experiment: "its run was deleted",
    leave_running: "its run is RUNNING",
    kill: "its run is KILLED",
    forget_tags: "it was not registered by a trial",
}


def test_the_lowest_score_wins(store):
    candidate("small", 0.2)
    winner = candidate("large", 0.1)
    candidate("medium", 0.3)
    assert best() == winner
    assert candidates.leaderboard("d")["val_brier"].tolist() == [0.1, 0.2, 0.3]


def test_a_tie_goes_to_the_smaller_network_then_to_the_lower_version(store):
    candidate("large", 0.1)
    candidate("medium", 0.2)
    winner = candidate("medium", 0.1)
    candidate("medium", 0.1)
    assert best() == winner == ("march-madness-medium", 2)


def test_an_edited_description_changes_nothing(store):
    winner, other = candidate("small", 0.1), candidate("small", 0.1)
    client = mlflow.MlflowClient()
    client.update_model_version(other[0], str(other[1]), "the best of all")
    client.update_registered_model(other[0], "edited")
    assert best() == winner


def test_version_11_comes_after_version_9_and_many_ties_are_settled(store):
    versions = [candidate("small", 0.1) for _ in range(candidates.TOP + 2)]
    assert [v for _, v in versions] == candidates.leaderboard("d")["version"].tolist() == list(range(1, 23))
    assert best() == versions[0]


@pytest.mark.parametrize("score", BAD_SCORES)
def test_what_is_no_score_never_wins(store, score):
    candidate("small", score)
    winner = candidate("large", 0.3)
    assert best() == winner
    assert len(candidates.leaderboard("d")) == 1


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_what_was_withdrawn_never_wins(store, deed):
    deed(*candidate("small", 0.1))
    winner = candidate("large", 0.3)
    assert best() == winner
    assert len(candidates.leaderboard("d")) == 1


@pytest.mark.parametrize("way", [candidates.leaderboard, candidates.best_version])
def test_no_valid_candidate_is_one_sentence_with_a_reason_for_each(store, way):
    expected = [f"{PRODUCT}-large 1: its run is FAILED"]
    candidate("large", 0.1, status="FAILED")
    for score in BAD_SCORES:
        _, number = candidate("medium", score)
        expected.append(f"{PRODUCT}-medium {number}: its val_brier is no number from 0 to 1")
    for deed, reason in DEEDS.items():
        if deed is not delete_experiment:  # it takes all runs of the experiment along
            _, number = made = candidate("small", 0.1)
            deed(*made)
            expected += [f"{PRODUCT}-small {number}: {reason}"] if reason else []
    candidate("small", 0.1, data="other")
    with pytest.raises(LookupError, match=f"None of {len(expected)} candidates for these games is valid") as error:
        way("d")
    for reason in expected:
        assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_without_candidates_says_what_to_do(store):
    candidate("small", 0.01, data="other")
    for way in (candidates.leaderboard, candidates.best_version):
        with pytest.raises(LookupError, match="no candidates for these games: run the notebook before this one first"):
            way("d")


def test_a_finished_run_without_a_version_is_no_candidate(store):
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(CANDIDATES[0]).experiment_id):
        mlflow.log_params(Trial("small", {"learning_rate": 0.1, "epochs": 1}, 1, "strong", "d").made_of)
        mlflow.set_tag("trial", "abc")
        mlflow.log_metric("val_brier", 0.1)
    winner = candidate("large", 0.3)
    assert best() == winner


@pytest.mark.parametrize("text", ["", "5", "{}", "{", json.dumps({"architecture": "small"})])
def test_a_tag_that_somebody_edited_makes_no_candidate_and_no_crash(store, text):
    name, number = candidate("small", 0.1)
    mlflow.MlflowClient().set_model_version_tag(name, str(number), "candidate", text)
    candidate("large", 0.3)
    assert candidates.leaderboard("d")["model"].tolist() == [f"{PRODUCT}-large"]


def retell(name: str, version: int, **changes: object) -> None:
    """What somebody who means well types into the tag, the rest as it is."""
    client = mlflow.MlflowClient()
    told = json.loads(client.get_model_version(name, str(version)).tags["candidate"])
    client.set_model_version_tag(name, str(version), "candidate", json.dumps({**told, **changes}))


def break_the_seal_off(name: str, version: int) -> None:
    """As the versions of older stores are."""
    client = mlflow.MlflowClient()
    told = json.loads(client.get_model_version(name, str(version)).tags["candidate"])
    del told["seal"]
    client.set_model_version_tag(name, str(version), "candidate", json.dumps(told))


def edit_digest(name: str, version: int) -> None:
    mlflow.MlflowClient().set_model_version_tag(name, str(version), "digest", "0")


def edit_trial(name: str, version: int) -> None:
    mlflow.MlflowClient().set_model_version_tag(name, str(version), "trial", "abc")


EDITS = {
    "a better score": lambda *made: retell(*made, val_brier=0.01),
    "a worse score": lambda *made: retell(*made, val_brier=0.9),
    "another rate": lambda *made: retell(*made, learning_rate=5.0),
    "another digest": edit_digest,
    "another trial": edit_trial,
}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "of an older store"])
@pytest.mark.parametrize("edit", EDITS)
def test_a_version_whose_tags_were_edited_never_counts(store, edit, sealed):
    made = candidate("small", 0.1)
    if not sealed:
        break_the_seal_off(*made)
        assert best() == made
    if not (edit == "another digest" and not sealed):  # nothing but the files can tell then
        EDITS[edit](*made)
        assert best_but_for(made) == candidate("large", 0.3)
        assert (
            candidates.why_not(mlflow.MlflowClient().get_model_version(*map(str, made)), "d") == "its tags were edited"
        )
        trial = candidates.leaderboard("d")["trial"][0]
        assert registry.find_version(made[0], trial) is None


def best_but_for(made: tuple[str, int]) -> tuple[str, int]:
    other = candidate("large", 0.3)
    assert best() == other
    mlflow.MlflowClient().delete_model_version(other[0], str(other[1]))
    return other[0], other[1] + 1


def test_a_copy_in_another_model_is_no_candidate_there(store):
    made = candidate("small", 0.1)
    for name in CANDIDATES[1:]:
        mlflow.MlflowClient().copy_model_version(f"models:/{made[0]}/{made[1]}", name)
    assert best() == made
    assert len(candidates.leaderboard("d")) == 1


def test_what_does_not_count_is_not_found_so_that_it_is_made_again(store):
    for deed in (delete_run, kill, leave_running, edit_digest):
        made = candidate("small", 0.1)
        trial = mlflow.MlflowClient().get_model_version(*map(str, made)).tags["trial"]
        assert int(registry.find_version(made[0], trial).version) == made[1]
        deed(*made)
        assert registry.find_version(made[0], trial) is None


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_one_version_is_told_the_same_reason_as_the_whole_table(store, deed):
    made = candidate("small", 0.1)
    version = mlflow.MlflowClient().get_model_version(*map(str, made))
    assert candidates.why_not(version, "d") == ""
    assert candidates.why_not(version, "other") == "it was scored on other games"
    if deed is not delete_version:
        deed(*made)
        version = mlflow.MlflowClient().get_model_version(*map(str, made))
        assert DEEDS[deed] in candidates.why_not(version, "d")


def test_of_10050_versions_none_is_cut_off(store):
    fill(store, 10_050)
    use_store(str(store))
    winner = candidate("large", 1e-6)
    assert best() == winner
    assert len(candidates.leaderboard("d")) == 10_051


def test_other_models_of_the_store_are_no_candidates(store):
    winner = candidate("small", 0.3)
    client = mlflow.MlflowClient()
    tags = client.get_model_version(winner[0], str(winner[1])).tags
    for name in (PRODUCT, f"{PRODUCT}-mine"):
        client.create_registered_model(name)
        client.create_model_version(name, "file:///nowhere", run_of(*winner), tags=tags)
    assert best() == winner
    assert len(candidates.leaderboard("d")) == 1
