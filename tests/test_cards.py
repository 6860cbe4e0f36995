"""A card says what the registry knows of a version, and what is missing, in words; its commands run as they stand."""

import os
import re
import subprocess
import sys

import mlflow
import numpy as np
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import cards, gate, promotion, records, registry
from helpers.features import OUTCOME, fingerprint
from helpers.forward import walk_forward
from helpers.scoring import brier_score
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial, product_name

SEED = 1
HEADINGS = ["Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"]
HEADINGS += ["Quantitative analyses", "Ethical considerations", "Caveats and recommendations"]


@pytest.fixture(scope="module")
def versions(tmp_path_factory, split) -> dict[str, ModelVersion]:
    """A champion that came through the gate, was ousted and came back; a candidate of which little is known."""
    use_store(str(tmp_path_factory.mktemp("cards") / "store"))
    trials = [Trial("linear", {"C": C}, SEED, "strong", fingerprint(split)) for C in (1e-6, 0.1, 1.0)]
    first, second, bare = (run_trial(trial, split) for trial in trials)
    for version in (first, second):
        walk_forward(version, split, SEED)
    client, product = Client(), product_name()
    first, second = (client.copy_model_version(f"models:/{v.name}/{v.version}", product) for v in (first, second))
    client.set_registered_model_alias(product, "champion", first.version)
    promotion.record_by_hand()
    decision = gate.examine(second, first, split, 0.002, SEED)
    gate.write_down(decision, second)
    promotion.promote(second, first, "gate", decision.reason, decision.numbers)
    promotion.promote(first, second, "forced", "somebody | insisted\n# loudly")
    promotion.roll_back(first, "bad on the newest season")
    registry.record_test_score(second, 0.18127)
    return {"champion": client.get_model_version(product, second.version), "bare": bare}


@pytest.fixture(scope="module")
def card(versions) -> str:
    return cards.model_card(versions["champion"], SEED)


def part(card: str, heading: str) -> str:
    return card.partition(f"{heading}\n")[2].partition("\n#")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines][2:]


def test_the_headings_are_those_of_the_field(card):
    assert re.findall("^## (.*)", card, re.MULTILINE) == HEADINGS
    assert "Model Cards for Model Reporting" in card


def test_the_scores_are_those_of_the_kept_games_men_and_women_apart(card, versions):
    table = rows(part(card, "## Quantitative analyses"))
    assert [row[:2] for row in table] == [
        [s, p] for s in ("validation", "walk-forward") for p in ("all", "men", "women")
    ]
    kept = records.load_predictions(versions["champion"].run_id)
    women = kept[kept["League"] == "W"]
    league, number, score, interval = table[2][1:]
    assert (league, int(number)) == ("women", len(women))
    assert score == f"{brier_score(women[OUTCOME], women['Prediction']):.4f}"
    low, high = map(float, interval.split(" to "))
    assert low < float(score) < high
    assert table[3][3] == f"{mlflow.get_run(versions['champion'].run_id).data.metrics['forward_brier']:.4f}"
    assert "Test seasons, scored once: 0.1813." in card


def test_the_calibration_counts_every_walk_forward_game(card, versions):
    table = rows(part(card, "### Calibration"))
    walk = records.load_predictions(versions["champion"].run_id, "forward_predictions.csv")
    assert sum(int(row[2]) for row in table) == len(walk)
    assert all(re.fullmatch(r"\d\.\d\d to \d\.\d\d", row[3]) for row in table)


def test_the_data_and_the_gate_are_named(card, split):
    data = part(card, "## Training data")
    assert f"games: {fingerprint(split)}\n" in data
    assert f"Games to train on: {len(split.train)}" in data
    assert "Source: missing" in data
    assert "| validation | 2019 |" in part(card, "## Evaluation data")
    assert re.match(
        r"\nPassed against version 1: better over \d+ games: .* the margin was 0.002\.", part(card, "### The gate")
    )


def test_no_place_of_a_machine_is_in_it(card):
    store = mlflow.get_tracking_uri().removeprefix("sqlite:///").removesuffix("/mlflow.db")
    assert store not in card
    assert not re.search(r"file:|sqlite:|(?<!models:)(?<!runs:)/(tmp|home|root|usr|work)/", card)


def test_a_fresh_reader_loads_the_model_by_the_commands_of_the_card(card, versions):
    (code,) = re.findall("```python\n(.*?)```", card, re.DOTALL)
    assert "models:/march-madness@champion" in code
    assert "models:/march-madness/2" in code
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    command = [sys.executable, "-c", f"{code}\nprint(float(chance.iloc[0, 0]))"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scope: dict[str, object] = {}
    exec("\n".join(line for line in code.splitlines() if "load_model" not in line and "predict" not in line), scope)
    here = registry.load(versions["champion"]).predict(scope["game"])[0]
    assert np.isclose(float(done.stdout.splitlines()[-1]), here, atol=1e-6)


def test_what_is_missing_is_said_in_words(versions):
    card = cards.model_card(versions["bare"], SEED)
    for words in (
        "Aliases now: none",
        "Missing: no gate has",
        "Missing: it has not walked",
        "Test seasons: not scored",
    ):
        assert words in card
    assert "@champion" not in card
    assert len(rows(part(card, "## Quantitative analyses"))) == 3


def test_a_walk_that_was_not_finished_is_no_walk(versions, split):
    bare = versions["bare"]
    records.log_predictions(
        bare.run_id, split.validation[["League", "Season", OUTCOME]], 0.5, "forward_predictions.csv"
    )
    assert "Missing: it has not walked" in cards.model_card(bare, SEED)


def test_the_card_is_logged_with_the_version(versions):
    version = versions["champion"]
    address = cards.log_card(version, SEED)
    assert address == f"runs:/{version.run_id}/model_card.md"
    assert mlflow.artifacts.load_text(address) == cards.model_card(version, SEED)
    tagged = Client().get_model_version(version.name, version.version)
    assert tagged.tags["model_card"] == address
    assert registry.counts(tagged)


def test_files_that_were_changed_get_no_card(versions):
    changed = Client().get_model_version(versions["bare"].name, versions["bare"].version)
    Client().set_model_version_tag(changed.name, changed.version, "digest", "0")
    with pytest.raises(RuntimeError, match="are not those that were registered"):
        cards.model_card(changed, SEED)
    Client().set_model_version_tag(changed.name, changed.version, "digest", changed.tags["digest"])


def test_the_lineage_leads_from_the_data_to_the_alias(versions, split):
    version = versions["champion"]
    steps = cards.lineage(version)
    assert steps["step"].tolist() == ["data", "run", "candidate", "version", *["decision"] * 4, "alias"]
    assert steps["name"].tolist() == [
        fingerprint(split),
        "C 0.1",
        "march-madness-linear version 2",
        "march-madness version 2",
        "gate passed",
        "gate",
        "forced",
        "rolled back",
        "champion",
    ]
    facts = steps["facts"].tolist()
    assert facts[0] == f"strong features, {len(split.train)} games to train on"
    assert facts[2] == f"trial {version.tags['trial']}"
    assert facts[5:7] == ["became champion after version 1", "gave way to version 1: somebody | insisted\n# loudly"]
    assert steps["when"].iloc[3:8].dropna().is_monotonic_increasing
    assert steps["when"].isna().tolist() == [True, False, False, False, True, False, False, False, True]
    assert "somebody \\| insisted # loudly |" in cards.model_card(version, SEED)


def test_the_lineage_of_a_candidate_and_of_what_is_gone(versions):
    assert cards.lineage(versions["bare"])["step"].tolist() == ["data", "run", "candidate", "alias"]
    client, bare = Client(), versions["bare"]
    copy = client.copy_model_version(f"models:/{bare.name}/{bare.version}", product_name())
    client.delete_model_version(bare.name, bare.version)
    client.delete_run(bare.run_id)
    steps = cards.lineage(copy).set_index("step")
    assert tuple(steps.loc["candidate", ["name", "facts"]]) == ("march-madness-linear version 3", "deleted")
    assert steps.loc["run", "facts"].endswith(", deleted")
    assert steps.loc["alias", "name"] == "none"
