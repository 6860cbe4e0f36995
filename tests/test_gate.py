"""The gate lets a better challenger in, or a simpler one that is not worse, and refuses everything that is unsound."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model, infer_signature, set_signature

from helpers import gate, registry
from helpers.features import FEATURE_SETS, Split, fingerprint, matchup_table, split_by_season
from helpers.forward import walk_forward
from helpers.models.sklearn import fit_logistic
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial, product_name

SEED, MARGIN = 1, 0.002
COLUMNS = FEATURE_SETS["strong"]
NETWORK = {"learning_rate": 0.01, "epochs": 5}


@pytest.fixture(scope="module")
def candidates(tmp_path_factory, split) -> dict[str, ModelVersion]:
    """A good regression, one that is held back far too much, and a network, each scored over many seasons."""
    use_store(str(tmp_path_factory.mktemp("gate") / "store"))
    shared = {"seed": SEED, "features": "strong", "data": fingerprint(split)}
    made_of = {"good": ("linear", {"C": 0.1}), "worse": ("linear", {"C": 1e-6}), "larger": ("small", NETWORK)}
    versions = {name: run_trial(Trial(*parts, **shared), split) for name, parts in made_of.items()}
    for version in versions.values():
        walk_forward(version, split, SEED)
    return versions


def examine(challenger: ModelVersion, champion: ModelVersion, split: Split, margin: float = MARGIN) -> gate.Decision:
    return gate.examine(challenger, champion, split, margin, SEED)


def test_a_better_challenger_passes_with_its_numbers(candidates, split):
    decision = examine(candidates["good"], candidates["worse"], split)
    assert decision.passes, decision.reason
    assert set(decision.checks.values()) == {""}
    assert decision.numbers["low"] < decision.numbers["difference"] < decision.numbers["high"] < 0
    assert {"difference_men", "difference_women"} < set(decision.numbers)
    assert decision.reason.startswith("better over ")


def test_a_worse_one_is_refused(candidates, split):
    decision = examine(candidates["worse"], candidates["good"], split)
    assert not decision.passes
    assert decision.reason.startswith("it is worse: +0.")


def test_the_champion_does_not_pass_against_itself(candidates, split):
    decision = examine(candidates["good"], candidates["good"], split)
    assert (decision.passes, decision.reason) == (False, "it is the champion itself")


def test_a_simpler_one_passes_where_it_is_not_worse_by_more_than_the_margin(candidates, split):
    decision = examine(candidates["good"], candidates["larger"], split, margin=0.05)
    assert decision.passes
    worst = decision.numbers["high"]
    if worst > 0:
        assert not examine(candidates["good"], candidates["larger"], split, margin=worst / 2).passes


def test_an_equal_one_that_is_no_simpler_is_refused(candidates, split):
    good, client = candidates["good"], Client()
    equal = client.copy_model_version(f"models:/{good.name}/{good.version}", product_name())
    decision = examine(client.get_model_version(equal.name, equal.version), good, split, margin=0.05)
    assert not decision.passes
    assert decision.reason.startswith("it is not clearly better: +0.0000")


def test_a_larger_one_is_not_let_in_by_the_margin(candidates, split):
    decision = examine(candidates["larger"], candidates["good"], split, margin=0.9)
    assert decision.passes == (decision.numbers["high"] < 0)


def test_one_that_was_scored_on_other_games_is_refused(candidates, games):
    other = split_by_season(matchup_table(games), validation_seasons=2, test_seasons=1)
    decision = examine(candidates["good"], candidates["worse"], other)
    assert not decision.passes
    assert "it was scored on other games" in decision.reason


def test_one_that_never_walked_is_refused(candidates, split):
    client, version = Client(), candidates["good"]
    fresh = run_trial(replace(registry.trial_of(version), parameters={"C": 0.2}), split)
    decision = examine(fresh, version, split)
    assert decision.reason.startswith("it has no walk-forward score on these games: run 05")
    decision = examine(version, fresh, split)
    assert decision.reason.startswith("the champion has no walk-forward score on these games: run 05")
    client.delete_run(fresh.run_id)
    assert "its run was deleted" in examine(fresh, version, split).reason


def test_walk_forward_predictions_that_do_not_give_the_score_are_refused(candidates, split):
    shared = registry.trial_of(candidates["good"])
    flattered = run_trial(replace(shared, parameters={"C": 0.3}), split)
    walk_forward(flattered, split, SEED)
    mlflow.log_metric("forward_brier", 0.1, run_id=flattered.run_id)
    reason = examine(flattered, candidates["worse"], split).reason
    assert reason == "the walk-forward predictions of it do not give its forward_brier"


def edited(version: ModelVersion, place: Path, edit: Callable[[Path], object]) -> ModelVersion:
    """Another version of the same run, whose files were edited before they were registered."""
    folder = registry.fetch(version, str(place / "copy"))
    (folder / "registered_model_meta").unlink(missing_ok=True)
    edit(folder)
    uri = registry.log_folder(version.run_id, folder)
    again = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(place / "again")))
    candidate = {name: value for name, value in registry.made_of(version).items() if name != "seal"}
    tags = registry.version_tags(version.tags["trial"], registry.digest(again), candidate)
    client = Client()
    if not client.search_registered_models(f"name = '{product_name()}'"):
        client.create_registered_model(product_name())
    return client.create_model_version(product_name(), uri, version.run_id, tags=tags)


def with_a_tensor_signature(folder: Path) -> None:
    set_signature(str(folder), infer_signature(np.zeros((2, 12), "float32"), np.zeros((2, 1), "float32")))


def without_an_example(folder: Path) -> None:
    model = Model.load(str(folder))
    model.saved_input_example_info = None
    model.save(str(folder / "MLmodel"))


def with_another_regression(folder: Path) -> None:
    import skops.io

    names = Model.load(str(folder)).get_input_schema().input_names()
    table = pd.DataFrame(np.random.default_rng(1).normal(size=(50, 12)), columns=names)
    model = fit_logistic(table, (table[names[0]] > 0).astype(int), 1.0)
    skops.io.dump(model, next(folder.rglob("model.skops")))


def answering_what_is_missing(folder: Path) -> None:
    (code,) = (folder / "code").glob("game_pyfunc_*.py")
    code.write_text(code.read_text().replace('games.to_numpy("float32")', 'games.fillna(0).to_numpy("float32")'))


def raising_for_every_row(folder: Path) -> None:
    (code,) = (folder / "code").glob("game_pyfunc_*.py")
    code.write_text(code.read_text().replace("        if counts:", "        if True:"))


def answering_the_other_way_round(folder: Path) -> None:
    (code,) = (folder / "code").glob("game_pyfunc_*.py")
    code.write_text(code.read_text().replace("pd.DataFrame(np.concatenate(", "1 - pd.DataFrame(np.concatenate("))


EDITS = {
    "signature": (with_a_tensor_signature, "its signature names no columns"),
    "loads": (lambda folder: next(folder.rglob("model.skops")).write_bytes(b"no zip"), "it does not load: "),
    "input example": (without_an_example, "its input example cannot be used"),
    "requirements": (
        lambda folder: (folder / "requirements.txt").write_text("mlflow\nnumpy==1.0\n"),
        "its requirements do not pin mlflow, pandas, scikit-learn, skops",
    ),
    "answers": (with_another_regression, "its answers are "),
    "answers by pyfunc": (answering_the_other_way_round, "its answers are "),
    "no answers by pyfunc": (raising_for_every_row, "its pyfunc does not answer: MlflowException"),
    "missing values": (answering_what_is_missing, "its pyfunc answers a row with a missing value"),
}


@pytest.mark.parametrize("check", EDITS)
def test_an_unsound_version_is_refused(candidates, split, tmp_path, check):
    edit, sentence = EDITS[check]
    version = edited(candidates["good"], tmp_path, edit)
    decision = examine(version, candidates["worse"], split)
    assert not decision.passes
    assert decision.checks[check.removeprefix("no ").removesuffix(" by pyfunc")].startswith(sentence)


def test_the_same_version_unedited_passes(candidates, split, tmp_path):
    """So it was the edit that the gate refused."""
    version = edited(candidates["good"], tmp_path, lambda folder: None)
    assert examine(version, candidates["worse"], split).passes


def test_files_that_were_changed_after_they_were_registered_are_not_loaded(candidates, split, tmp_path):
    version = edited(candidates["good"], tmp_path, lambda folder: None)
    folder = Path(mlflow.get_logged_model(version.source.removeprefix("models:/")).artifact_location[7:])
    (file,) = folder.rglob("model.skops")
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    decision = examine(version, candidates["worse"], split)
    assert "are not those that were registered" in decision.checks["digest"]
    assert "loads" not in decision.checks


def test_a_decision_is_kept_on_the_version(candidates, split):
    decision = examine(candidates["worse"], candidates["good"], split)
    gate.write_down(decision, candidates["worse"])
    tags = Client().get_model_version(candidates["worse"].name, candidates["worse"].version).tags
    assert (tags["gate"], tags["gate_reason"], tags["gate_against"]) == ("refused", decision.reason, "1")
    assert float(tags["gate_difference"]) == pytest.approx(decision.numbers["difference"], abs=1e-6)
    assert float(tags["gate_margin"]) == MARGIN
    gate.write_down(replace(decision, numbers={}), candidates["worse"])
    tags = Client().get_model_version(candidates["worse"].name, candidates["worse"].version).tags
    assert not {"gate_difference", "gate_margin"} & set(tags)  # of a decision that is no more
    assert tags["trial"]
