"""Whatever a person does in MLflow's pages, notebooks 02 to 04 end right, or with a sentence that tells the way."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion

from helpers import features, registry
from helpers.baselines import choose_features
from helpers.candidates import leaderboard
from helpers.features import Split, fingerprint, split_by_season
from helpers.stores import StoreError
from helpers.stores.folder import mend_addresses
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from helpers.trials import PRODUCT, make_trials
from tests.support.cells import PARAMETERS, run_cells, small_games, small_scale
from tests.support.names import CANDIDATES

SEQUENCES = int(os.environ.get("SEQUENCES", "30"))  # 300 take half an hour
MODELS = [PRODUCT, *CANDIDATES]
DATES = ("last_updated_timestamp", "last_update_time", "creation_timestamp")


def versions() -> list[ModelVersion]:
    return sorted(mlflow.search_model_versions(), key=lambda v: (v.name, int(v.version)))


def all_runs() -> list[mlflow.entities.Run]:
    ids = [e.experiment_id for e in mlflow.search_experiments(view_type=ViewType.ALL)]
    found = mlflow.search_runs(ids, run_view_type=ViewType.ALL, output_format="list")
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


# What a person can do, each to the k-th of what there is


def a_version(do: Callable[[mlflow.MlflowClient, ModelVersion], None]) -> Callable[[int], None]:
    def deed(k: int) -> None:
        found = versions()
        if found:
            do(mlflow.MlflowClient(), found[k % len(found)])

    return deed


def a_run(do: Callable[[mlflow.MlflowClient, str], None]) -> Callable[[int], None]:
    def deed(k: int) -> None:
        ids = [run.info.run_id for run in all_runs()]
        do(mlflow.MlflowClient(), ids[k % len(ids)])

    return deed


def an_experiment(do: Callable[[mlflow.MlflowClient, str], None]) -> Callable[[int], None]:
    def deed(k: int) -> None:
        known = [e for e in mlflow.search_experiments(view_type=ViewType.ALL) if e.name != "Default"]
        do(mlflow.MlflowClient(), sorted(e.experiment_id for e in known)[k % len(known)])

    return deed


def a_model(do: Callable[[mlflow.MlflowClient, str], None]) -> Callable[[int], None]:
    def deed(k: int) -> None:
        names = sorted(model.name for model in mlflow.search_registered_models())
        if names:
            do(mlflow.MlflowClient(), names[k % len(names)])

    return deed


def register_by_hand(k: int) -> None:
    """As the page of a logged model does: no tags, and any entry of the catalogue."""
    ids = [output.model_id for run in all_runs() for output in (run.outputs.model_outputs if run.outputs else [])]
    mlflow.register_model(f"models:/{ids[k % len(ids)]}", MODELS[k % len(MODELS)])


def promote_by_hand(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    name = (
        MODELS[(MODELS.index(version.name) + int(version.version)) % len(MODELS)] if version.name in MODELS else PRODUCT
    )
    client.copy_model_version(f"models:/{version.name}/{version.version}", name)


def move_champion(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    client.set_registered_model_alias(version.name, "champion", version.version)


def drop_champion(k: int) -> None:
    if any(model.name == PRODUCT for model in mlflow.search_registered_models()):
        mlflow.MlflowClient().delete_registered_model_alias(PRODUCT, "champion")


def edit_tag(name: str, text: str | None) -> Callable[[mlflow.MlflowClient, ModelVersion], None]:
    def edit(client: mlflow.MlflowClient, version: ModelVersion) -> None:
        if text is not None:
            client.set_model_version_tag(version.name, version.version, name, text)
        elif name in version.tags:
            client.delete_model_version_tag(version.name, version.version, name)

    return edit


def swap_scores(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    """The best score of all, typed into the tag that keeps it."""
    better = re.sub(r'"val_brier": [\d.]+', '"val_brier": 0.01', version.tags.get("candidate", ""))
    client.set_model_version_tag(version.name, version.version, "candidate", better)


DEEDS: dict[str, Callable[[int], None]] = {
    "delete a version": a_version(lambda client, v: client.delete_model_version(v.name, v.version)),
    "describe a version": a_version(lambda client, v: client.update_model_version(v.name, v.version, "the best")),
    "tag a version": a_version(edit_tag("note", "good")),
    "delete a version's trial": a_version(edit_tag("trial", None)),
    "delete a version's digest": a_version(edit_tag("digest", None)),
    "delete a version's score": a_version(edit_tag("candidate", None)),
    "edit a version's trial": a_version(edit_tag("trial", "abc")),
    "edit a version's digest": a_version(edit_tag("digest", 64 * "0")),
    "edit a version's score": a_version(swap_scores),
    "garble a version's score": a_version(edit_tag("candidate", "{")),
    "register a version": register_by_hand,
    "promote a version": a_version(promote_by_hand),
    "delete a run": a_run(lambda client, run: client.delete_run(run)),
    "restore a run": a_run(lambda client, run: client.restore_run(run)),
    "rename a run": a_run(lambda client, run: client.update_run(run, name="the best")),
    "edit a run's trial": a_run(lambda client, run: client.set_tag(run, "trial", "abc")),
    "edit a run's owner": a_run(lambda client, run: client.set_tag(run, "owner", "me")),
    "describe a run": a_run(lambda client, run: client.set_tag(run, "mlflow.note.content", "the best")),
    "delete an experiment": an_experiment(lambda client, experiment: client.delete_experiment(experiment)),
    "restore an experiment": an_experiment(lambda client, experiment: client.restore_experiment(experiment)),
    "rename an experiment": an_experiment(lambda client, experiment: client.rename_experiment(experiment, "mine")),
    "tag an experiment": an_experiment(lambda client, experiment: client.set_experiment_tag(experiment, "a", "b")),
    "delete a model": a_model(lambda client, name: client.delete_registered_model(name)),
    "rename a model": a_model(lambda client, name: client.rename_registered_model(name, "mine")),
    "describe a model": a_model(lambda client, name: client.update_registered_model(name, "the best")),
    "move champion": a_version(move_champion),
    "delete champion": drop_champion,
}


def do(deed: str, k: int) -> None:
    """Do it as the pages would: what they refuse, such as a name that is taken, does not happen."""
    with suppress(mlflow.MlflowException):
        DEEDS[deed](k)


# What must hold afterwards


def snapshot() -> dict[str, object]:
    """All runs and versions, but for what notebook 04 adds to the champion's."""
    kept = {}
    for run in all_runs():
        metrics = {name: value for name, value in run.data.metrics.items() if name != "test_brier"}
        kept[run.info.run_id] = (run.info.status, run.info.lifecycle_stage, run.info.run_name, run.data.tags, metrics)
    for version in versions():
        tags = {name: text for name, text in version.tags.items() if name != "test_brier"}
        kept[f"{version.name}/{version.version}"] = (version.description, version.run_id, version.source, tags)
    return kept


def all_three(store: str) -> None:
    for number in ("02", "03", "04"):
        run_cells(number, store)


def follow(sentence: str) -> None:
    """Do what a sentence says, but for running the notebooks again, which comes after it."""
    client = mlflow.MlflowClient()
    command = re.search(r"experiments (restore|rename) --experiment-id (\d+)( --new-name (\S+))?", sentence)
    if command and command[1] == "restore":
        client.restore_experiment(command[2])
    elif command:
        client.rename_experiment(command[2], command[4])
    else:
        assert re.fullmatch(r".*[Rr]un (02|03|this|the notebook).*", sentence), sentence


def check_end(split: Split) -> None:
    """Every trial has a version that counts, and the champion is the best one and loads."""
    board = leaderboard(fingerprint(split))
    assert board["trial"].nunique() == 9
    champion = registry.champion(fingerprint(split))
    assert champion.run_id == board["run_id"][0]
    assert len(registry.load(champion).predict(split.validation)) == len(split.validation)


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    with small_scale():
        yield split_by_season(
            features.matchup_table(small_games()), PARAMETERS["VALIDATION_SEASONS"], PARAMETERS["TEST_SEASONS"]
        )


@pytest.fixture(scope="module")
def finished(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store after notebooks 02 to 04."""
    store = tmp_path_factory.mktemp("finished") / "store"
    use_store(str(store))
    chosen = choose_features(split.train, split.validation)
    rates, epochs, seed = (PARAMETERS[name] for name in ("LEARNING_RATES", "EPOCHS", "SEED"))
    run_sweep(make_trials(rates, epochs, seed, chosen, fingerprint(split)), split)
    all_three(str(store))
    return store


SEQUENCE = st.lists(st.tuples(st.sampled_from(sorted(DEEDS)), st.integers(0, 40)), min_size=1, max_size=6)


@settings(max_examples=SEQUENCES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(sequence=SEQUENCE)
def test_any_sequence_of_deeds_ends_right_or_with_a_sentence_that_helps(finished, split, tmp_path_factory, sequence):
    check_sequence(finished, tmp_path_factory.mktemp("clicks") / "store", split, sequence)


def check_sequence(finished: Path, store: Path, split: Split, sequence: list[tuple[str, int]]) -> None:
    shutil.copytree(finished, store)
    mend_addresses(store)
    use_store(str(store))
    for deed, k in sequence:
        do(deed, k)
    before = snapshot()
    for _ in range(6):
        try:
            all_three(str(store))
            break
        except (AssertionError, LookupError, StoreError) as error:
            follow(str(error))
            before |= snapshot()  # what the remedy itself has changed
    else:
        pytest.fail("six sentences were followed, and it does not end right")
    check_end(split)
    after = snapshot()
    assert {name: after.get(name) for name in before} == before
    shutil.rmtree(store)


BEST = [
    (deed, of)
    for deed in DEEDS
    for of in ("candidate", "champion", "run")
    if of in deed or ("version" in deed and of != "run")
]
REST = [(deed, "candidate") for deed in DEEDS if deed not in dict(BEST)]


@pytest.mark.parametrize(("deed", "of"), [*BEST, *REST])
def test_a_deed_alone_to_the_best(finished, split, tmp_path, deed, of):
    use_store(str(finished))
    check_sequence(finished, tmp_path / "store", split, [(deed, place_of_the_best(of, split))])


def place_of_the_best(of: str, split: Split) -> int:
    """The number that leads a deed to the best candidate's version, to the champion's, or to the best's run."""
    best = leaderboard(fingerprint(split)).iloc[0]
    if of == "run":
        return [run.info.run_id for run in all_runs()].index(best["run_id"])
    wanted = (PRODUCT, 1) if of == "champion" else (best["model"], best["version"])
    return [(version.name, int(version.version)) for version in versions()].index(wanted)
