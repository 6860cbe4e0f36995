"""The notebooks on PostgreSQL and S3, twice: what the first time has left there, the second one finds."""

import mlflow
import psycopg
from sqlalchemy import make_url

from helpers import NOTEBOOKS, features, registry
from helpers.baselines import choose_features
from helpers.features import fingerprint, split_by_season
from helpers.stores.store import use_store
from helpers.surroundings import environment
from helpers.sweep import run_sweep
from helpers.team import TeamServer
from helpers.tools.execute import execute_some
from helpers.tools.share import postgresql, s3
from helpers.trials import Trial
from tests.support.cells import PARAMETERS, run_cells, small_scale
from tests.support.contents import contents
from tests.support.team import libpq, open_folder, parts_are_missing

pytestmark = parts_are_missing
SMALL = {"EPOCHS": 2, "VALIDATION_SEASONS": 1, "TEST_SEASONS": 2, "TRIALS": 3}


def test_the_series_on_a_teams_server_adds_nothing_the_second_time(tmp_path):
    """By papermill: 00 to 06 on one server, and 07 from there to another, which has a database of its own."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    with open_folder() as folder, postgresql(folder) as database, s3(folder) as objects:
        other = make_url(database.address).set(database="other").render_as_string(hide_password=False)
        with psycopg.connect(libpq(database.address), autocommit=True) as admin:
            admin.execute("CREATE DATABASE other")
        with TeamServer(folder, database.address, objects.address, more=objects.environment) as server:
            given, held = {**SMALL, "STORE": server.url}, []
            for time in ("first", "second"):
                execute_some(paths[:7], tmp_path / time, given)
                held.append(contents(server.url))
            assert held[1] == held[0]
            given |= {"DATABASE": other, "ARTIFACTS": f"{objects.address}/other"}
            filled = []
            for time in ("first", "second"):
                with environment(objects.environment):
                    execute_some(paths[7:], tmp_path / time, given)
                filled.append(versions_in(other))
            assert filled[1] == filled[0]
            assert filled[0]["march-madness"] == 1
            assert filled[0]["march-madness-linear"] >= 6 + 3  # of the two people, and beside the backup
            assert contents(server.url) == held[0]


def versions_in(database: str) -> dict[str, int]:
    with psycopg.connect(libpq(database)) as connection:
        return dict(connection.execute("SELECT name, count(*) FROM model_versions GROUP BY name").fetchall())


def test_07_takes_a_folder_there_and_finds_it_the_second_time(store):
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
