"""Notebook 07 on PostgreSQL and S3: what the first time has left there, the second one finds."""

import mlflow

from helpers import features, registry
from helpers.baselines import choose_features
from helpers.features import fingerprint, split_by_season
from helpers.stores.store import use_store
from helpers.surroundings import environment
from helpers.sweep import run_sweep
from helpers.tools.share import postgresql, s3
from helpers.trials import Trial
from tests.support.cells import PARAMETERS, run_cells, small_scale
from tests.support.contents import contents
from tests.support.team import open_folder, parts_are_missing

pytestmark = parts_are_missing


def test_a_second_time_finds_what_the_first_has_left(store):
    with small_scale(), open_folder() as folder, postgresql(folder) as database, s3(folder) as objects:
        a_champion(str(store))
        own, held = contents(str(store)), []
        place = {"DATABASE": database.address, "ARTIFACTS": objects.address}
        nobody = {"MLFLOW_TRACKING_USERNAME": None, "MLFLOW_TRACKING_PASSWORD": None}
        for _ in range(2):
            with environment(objects.environment | nobody):  # the notebook becomes the admin of its server
                held.append(run_cells("07", str(store), **place)["found"])
        assert held[0]["march-madness"] == 1
        assert held[0]["march-madness-linear"] == 2
        filled = {name: versions for name, versions in held[1].items() if versions}  # the admin makes all models
        assert filled == held[0] | {"march-madness-linear": 2 + 6 + 3}  # of the two people, and beside the backup
        assert contents(str(store)) == own


def a_champion(store: str) -> None:
    """Two candidates, one of which is champion and has met its test seasons, as after notebooks 01 to 04."""
    use_store(store)
    split = split_by_season(features.matchup_table(None), PARAMETERS["VALIDATION_SEASONS"], PARAMETERS["TEST_SEASONS"])
    chosen = choose_features(split.train, split.validation)
    run_sweep([Trial("linear", {"C": C}, PARAMETERS["SEED"], chosen, fingerprint(split)) for C in (0.01, 1.0)], split)
    client = mlflow.MlflowClient()
    champion = client.copy_model_version("models:/march-madness-linear/1", "march-madness")
    client.set_registered_model_alias("march-madness", "champion", champion.version)
    registry.record_test_score(champion, 0.2)
