"""The champion's trial on other games: renewed when a season has been played, refitted before one is forecast."""

from dataclasses import replace

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from helpers import promotion, records, registry
from helpers.features import MATCHUP, OUTCOME, Split, fingerprint
from helpers.scoring import brier_score
from helpers.stores.hosted import Client
from helpers.sweep import run_trial
from helpers.trials import Trial, product_name


def keep_champion(split: Split) -> bool:
    """Whether a champion that came through the gate stays; one of an earlier season is renewed for these games.

    So it is where the seasons were split otherwise. False where there is none, where it does not count any more, or
    where its games are not among these: then it has to be chosen anew.
    """
    champion = promotion.gated_champion()
    if champion is None or not registry.counts(champion) or not _are_among(champion, split):
        return False
    if registry.trial_of(champion).data != fingerprint(split):
        renew(champion, split)
    return True


def _are_among(champion: ModelVersion, split: Split) -> bool:
    """Whether the games by which a champion was chosen are all among those of a split, with the same outcomes."""
    chosen_by, same = records.load_predictions(champion.run_id), [*MATCHUP, OUTCOME]
    return len(chosen_by.merge(pd.concat(vars(split).values())[same], on=same)) == len(chosen_by)


def renew(champion: ModelVersion, split: Split) -> ModelVersion:
    """Train the champion's trial on these games, as a candidate like the others, and put it in the champion's place.

    Nothing was chosen anew, so no gate is asked. The record keeps what the old one scores on the newest test season,
    which is newer than all its games. Raises ValueError for a champion that was trained further, as refit does.
    """
    trial = replace(_own_trial(champion), data=fingerprint(split))
    candidate, product = run_trial(trial, split), product_name()
    source = f"models:/{candidate.name}/{candidate.version}"
    renewed = registry.find_copy(candidate, product) or Client().copy_model_version(source, product)
    newest = split.test[split.test["Season"] == split.test["Season"].max()]
    score = brier_score(newest[OUTCOME], registry.load(champion).predict(newest))
    numbers = {"season": int(newest["Season"].max()), "games": len(newest), "season_brier": score}
    reason = f"version {champion.version} trained anew on games up to {newest['Season'].max()}"
    promotion.promote(renewed, champion, "renewed", reason, numbers)
    return renewed


def refit(champion: ModelVersion, finished: pd.DataFrame) -> ModelVersion:
    """The champion's trial trained on all finished games, as a version of the product; found if there is one.

    finished is a matchup table. All choices are the champion's: a network trains for as many epochs as the champion's
    weights took. No game is left to score it by. Its tag refit_of has the champion's number. Raises ValueError for a
    champion that was trained further.
    """
    trial, split = _own_trial(champion), Split(finished, finished[:0], finished[:0])
    parameters = dict(trial.parameters)
    if "epochs" in parameters:
        parameters["epochs"] = int(records.load_losses(champion.run_id)["validation"].idxmin())
    trial = replace(trial, parameters=parameters, data=fingerprint(split))
    refitted = run_trial(trial, split, product_name())
    Client().set_model_version_tag(refitted.name, refitted.version, "refit_of", str(champion.version))
    return refitted


def _own_trial(champion: ModelVersion) -> Trial:
    trial = registry.trial_of(champion)
    if trial.start:
        raise ValueError(f"{champion.name} version {champion.version} was trained further: promote one that was not.")
    return trial
