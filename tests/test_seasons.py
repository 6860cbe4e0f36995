"""What becomes of the champion when a season has been played, and before the next one is forecast."""

from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import promotion, records, registry, seasons
from helpers.candidates import leaderboard
from helpers.features import OUTCOME, Split, fingerprint, matchup_table, split_by_season
from helpers.forward import walk_forward
from helpers.gate import examine
from helpers.models import library_of
from helpers.scoring import brier_score
from helpers.stores.hosted import Client
from helpers.sweep import run_trial
from helpers.trials import Trial, product_name
from tests.support.moves import pointed

REGRESSION, NETWORK = ("linear", {"C": 0.1}), ("small", {"learning_rate": 0.01, "epochs": 4})


@pytest.fixture(scope="module")
def table(games) -> pd.DataFrame:
    return matchup_table(games)


@pytest.fixture(scope="module")
def spring(table) -> Split:
    """The split of a year ago, without the newest season."""
    return split_by_season(table[table["Season"] < table["Season"].max()], 1, 1)


def champion_of(split: Split, made_of: tuple = REGRESSION, how: str = "gate") -> ModelVersion:
    candidate = run_trial(Trial(*made_of, 1, "strong", fingerprint(split)), split)
    product, client = product_name(), Client()
    version = client.copy_model_version(f"models:/{candidate.name}/{candidate.version}", product)
    promotion.promote(version, promotion.holder("champion"), how, "better")
    return client.get_model_version(product, version.version)


def test_a_champion_from_the_gate_is_renewed_for_a_new_season(store, spring, split):
    old = champion_of(spring)
    assert seasons.keep_champion(split)
    assert pointed() == {"champion": "2", "previous": "1"}
    renewed = registry.champion(fingerprint(split))
    assert registry.trial_of(renewed) == replace(registry.trial_of(old), data=fingerprint(split))
    move = promotion.history().iloc[-1]
    newest = split.test[split.test["Season"] == 2020]
    assert (move["how"], move["from"], move["season"], move["games"]) == ("renewed", "1", 2020, len(newest))
    assert move["season_brier"] == brier_score(newest[OUTCOME], registry.load(old).predict(newest))
    assert leaderboard(fingerprint(split))["trial"].tolist() == [renewed.tags["trial"]]


def test_a_second_time_changes_nothing(store, spring, split):
    champion_of(spring)
    seasons.keep_champion(split)
    before = promotion.history()
    assert seasons.keep_champion(split)
    assert promotion.history().equals(before)
    assert pointed() == {"champion": "2", "previous": "1"}


def test_one_that_was_renewed_is_renewed_again(store, table, spring, split):
    earlier = split_by_season(table[table["Season"] < 2019], 1, 1)
    champion_of(earlier)
    assert seasons.keep_champion(spring)
    assert seasons.keep_champion(split)
    assert promotion.history()["how"].tolist() == ["gate", "renewed", "renewed"]
    assert registry.trial_of(promotion.holder("champion")).data == fingerprint(split)


@pytest.mark.parametrize("how", ["forced", "by another way"])
def test_one_that_did_not_come_through_the_gate_is_not_kept(store, spring, split, how):
    champion_of(spring, how=how)
    assert not seasons.keep_champion(split)
    assert pointed() == {"champion": "1"}


def test_none_is_kept_where_there_is_none_or_its_run_was_deleted(store, spring, split):
    assert not seasons.keep_champion(split)
    mlflow.MlflowClient().delete_run(champion_of(spring).run_id)
    assert not seasons.keep_champion(split)


def test_one_of_another_league_is_not_kept(store, spring, split):
    """Where the same teams met and the other one won."""
    other = split.validation.assign(**{OUTCOME: 1 - split.validation[OUTCOME]})
    champion_of(Split(spring.train, other, spring.test))
    assert not seasons.keep_champion(split)


def test_a_challenger_meets_a_champion_of_other_games_at_the_gate(store, spring, split):
    """It walks through the games of now, and what it walked through before stays."""
    champion = champion_of(spring, ("linear", {"C": 1e-6}))
    walk_forward(champion, spring, 1)
    challenger = run_trial(Trial(*REGRESSION, 1, "strong", fingerprint(split)), split)
    walk_forward(challenger, split, 1)
    assert "the champion has no walk-forward score on these games" in examine(challenger, champion, split, 0, 1).reason
    walk_forward(champion, split, 1)
    decision = examine(challenger, champion, split, 0, 1)
    assert decision.passes, decision.reason
    assert decision.numbers["games"] == len(walk_forward(challenger, split, 1))


@pytest.mark.parametrize("made_of", [REGRESSION, NETWORK, ("torch", NETWORK[1])], ids=lambda made_of: made_of[0])
def test_a_refit_keeps_the_champions_choices_and_learns_from_every_game(store, table, split, made_of):
    champion = champion_of(split, made_of)
    refitted = seasons.refit(champion, table)
    assert refitted.name == product_name()
    assert Client().get_model_version(refitted.name, refitted.version).tags["refit_of"] == str(champion.version)
    assert seasons.refit(champion, table).version == refitted.version
    trial, chosen = registry.trial_of(refitted), dict(registry.trial_of(champion).parameters)
    if "epochs" in chosen:
        chosen["epochs"] = int(records.load_losses(champion.run_id)["validation"].idxmin())
        assert len(records.load_losses(refitted.run_id)["train"]) == chosen["epochs"]
    assert trial.parameters == chosen
    fitted = library_of(made_of[0]).train(trial, Split(table, table[:0], table[:0]))
    assert np.allclose(registry.load(refitted).predict(table), fitted.predict(table), atol=1e-6)
    assert not np.allclose(registry.load(champion).predict(table), fitted.predict(table), atol=1e-4)


def test_a_refit_has_no_score_is_no_candidate_and_moves_nothing(store, table, split):
    champion = champion_of(split)
    refitted = seasons.refit(champion, table)
    assert "val_brier" not in mlflow.get_run(refitted.run_id).data.metrics
    assert registry.counts(refitted)
    assert leaderboard(fingerprint(split))["trial"].tolist() == [champion.tags["trial"]]
    assert pointed() == {"champion": str(champion.version)}


def test_what_was_trained_further_is_neither_renewed_nor_refitted(store, table, split, monkeypatch):
    champion = champion_of(split)
    further = replace(registry.trial_of(champion), start="0" * 16)
    monkeypatch.setattr(registry, "trial_of", lambda version: further)
    for call in (seasons.renew, seasons.refit):
        with pytest.raises(ValueError, match="version 1 was trained further: promote one that was not"):
            call(champion, split if call is seasons.renew else table)
