"""A team's store whose S3 fails in mid-upload, or whose bucket or database refuses; all that is registered is whole."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import boto3
import mlflow
import psutil
import psycopg
import pytest
import requests
from botocore.exceptions import ClientError
from sqlalchemy import make_url

from helpers.stores import StoreError
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from helpers.team import TeamServer
from helpers.tools.share import BUCKET, postgresql, s3, weed
from helpers.trials import Trial
from tests.support.line import Line
from tests.support.team import kill, libpq, open_folder, parts_are_missing
from tests.support.work import SPLIT, trials, whole

pytestmark = parts_are_missing
ROLE, PASSWORD = "team", "a-secret-of-the-database"
WEIGHTS = f"PUT /{BUCKET}/.*/data/model.keras"  # sent after MLmodel and what lies beside it
SEEDS = count(1)  # each test has trials of its own in the one store


class Team:
    """A team's server, and who can break its parts: the admin of its database, the owner of its bucket, a line to it.

    The server is no superuser in the database, for whom PostgreSQL knows no limits.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        database, self.objects = stack.enter_context(postgresql(folder)), stack.enter_context(s3(folder))
        self.admin = stack.enter_context(psycopg.connect(libpq(database.address), autocommit=True))
        self.admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        self.admin.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
        self.database = make_url(database.address).set(username=ROLE, password=PASSWORD, database=ROLE)
        environment = self.objects.environment
        self.line = Line(make_url(environment["MLFLOW_S3_ENDPOINT_URL"]).port)
        self.bucket = boto3.resource(
            "s3",
            endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_DEFAULT_REGION"],
        ).Bucket(BUCKET)
        address = self.database.render_as_string(hide_password=False)
        more = environment | {"MLFLOW_S3_ENDPOINT_URL": self.line.url}
        self.server = stack.enter_context(TeamServer(folder, address, self.objects.address, more=more))

    def end_connections(self, *but: psycopg.Connection) -> None:
        found = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND NOT pid = ANY(%s)"
        self.admin.execute(found, [ROLE, [connection.info.backend_pid for connection in but]])

    def takes_files(self) -> bool:
        try:
            self.bucket.put_object(Key="probe", Body=b"")
        except ClientError:
            return False
        return True


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    with open_folder() as folder, ExitStack() as stack:
        team = Team(folder, stack)
        wake(team)
        yield team


def wake(team: Team) -> None:
    """Let the server's workers know the database, for which each tries 100 s at its first request, whatever it says."""
    search = f"{team.server.url}/api/2.0/mlflow/experiments/search"
    processes = psutil.Process(team.server.child.process.pid).children(recursive=True)

    def all_know_it() -> bool:
        list(pool.map(lambda _: requests.post(search, json={"max_results": 1}, timeout=60), range(8)))
        ports = [{c.raddr.port for c in process.net_connections() if c.raddr} for process in processes]
        return sum(team.database.port in of_one for of_one in ports) == 3  # the two workers, and who started them

    with ThreadPoolExecutor(8) as pool:
        wait_until(all_know_it)


@pytest.fixture
def trial(team) -> Trial:
    use_store(team.server.url)
    return replace(trials()[0], seed=next(SEEDS))


# In the midst of an upload


def test_s3_that_dies_between_two_files_of_a_model_leaves_nothing_half(team, trial):
    before, half = len(mlflow.search_model_versions()), half_uploaded()

    def die_for_a_while() -> None:
        kill(team.objects.child)
        threading.Timer(3, team.objects.child.start).start()

    team.line.at(WEIGHTS, die_for_a_while)
    outcomes = run_sweep([trial], SPLIT)
    assert outcomes["outcome"].tolist() == ["trained"], outcomes["reason"][0]
    assert half_uploaded() == half + 1
    whole(team.server.url, before + 1)


def half_uploaded() -> int:
    """How many logged models are not ready, of which no version may come."""
    homes = [home.experiment_id for home in mlflow.search_experiments()]
    return sum(model.status != "READY" for model in mlflow.search_logged_models(homes, output_format="list"))


@pytest.mark.parametrize("file", ["validation_predictions.csv", "MLmodel", "data/model.keras"])
def test_an_answer_of_s3_that_is_lost_after_the_upload_doubles_nothing(team, trial, file):
    before = len(mlflow.search_model_versions())
    team.line.answers_lost = 0
    team.line.at(f"PUT /{BUCKET}/.*/{file}")
    outcomes = run_sweep([trial], SPLIT)
    assert team.line.answers_lost == 1
    assert outcomes["outcome"].tolist() == ["trained"], outcomes["reason"][0]
    whole(team.server.url, before + 1)


# What refuses, and what is said of it


@contextmanager
def read_only_bucket(team: Team) -> Iterator[None]:
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    team.bucket.Policy().put(Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    wait_until(lambda: not team.takes_files())
    try:
        yield
    finally:
        team.bucket.Policy().delete()
        wait_until(team.takes_files)


@contextmanager
def full_bucket(team: Team) -> Iterator[None]:
    """Over its quota, which seaweedfs enforces when it is told to, and then answers uploads with error 500."""
    team.bucket.put_object(Key="heap", Body=os.urandom(3 * 2**20))
    in_weed_shell(team, f"s3.bucket.quota -name={BUCKET} -op=set -sizeMB=1")
    wait_until(lambda: in_weed_shell(team, "s3.bucket.quota.enforce -apply") or not team.takes_files())
    try:
        yield
    finally:
        in_weed_shell(team, f"s3.bucket.quota -name={BUCKET} -op=remove")
        wait_until(team.takes_files)
        team.bucket.Object("heap").delete()


def in_weed_shell(team: Team, command: str) -> None:
    options = dict(word.lstrip("-").split("=", 1) for word in team.objects.child.command if "=" in word)
    places = [f"-{n}=127.0.0.1:{options[f'{n}.port']}.{options[f'{n}.port.grpc']}" for n in ("master", "filer")]
    told = f"lock\n{command}\nunlock\n"
    subprocess.run([weed(), "shell", *places], input=told, text=True, capture_output=True, timeout=60, check=True)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@contextmanager
def expired_password(team: Team) -> Iterator[None]:
    team.admin.execute(f"ALTER ROLE {ROLE} VALID UNTIL '2001-01-01'")
    team.end_connections()
    try:
        yield
    finally:
        team.admin.execute(f"ALTER ROLE {ROLE} VALID UNTIL 'infinity'")


@contextmanager
def no_connections_left(team: Team) -> Iterator[None]:
    with psycopg.connect(libpq(team.database)) as one, psycopg.connect(libpq(team.database)) as other:
        team.admin.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 2")
        team.end_connections(one, other)  # after the limit, or the server would come back first
        try:
            yield
        finally:
            team.admin.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


REFUSALS = {
    read_only_bucket: "answers, but the place of its artifacts takes no file .*full or read-only",
    full_bucket: "answers, but the place of its artifacts takes no file .*full or read-only",
    expired_password: "answers, but the database behind it .*password authentication failed .*renew the password",
    no_connections_left: "answers, but the database behind it .*too many connections .*close some",
}


@pytest.mark.parametrize("fault", REFUSALS, ids=lambda fault: fault.__name__)
def test_a_part_that_refuses_in_the_midst_of_a_sweep_is_named_within_half_a_minute(team, trial, fault):
    nine, before = [replace(other, seed=trial.seed) for other in trials()], len(mlflow.search_model_versions())
    with ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(fault(team))
            begun.append(time.monotonic())

        begun: list[float] = []
        team.line.at(WEIGHTS, begin)
        said = refusal(lambda: run_sweep(nine, SPLIT))
        assert time.monotonic() - begun[0] < 30
        check_sentence(team, said, REFUSALS[fault])
        assert without_answer(refusal(lambda: run_trial(nine[1], SPLIT))) == without_answer(said)
        assert time.monotonic() - begun[0] < 60
    assert run_sweep([trial], SPLIT)["outcome"].tolist() == ["trained"]
    whole(team.server.url, before + 1)


@pytest.mark.parametrize("fault", [expired_password, no_connections_left])
def test_a_database_that_refuses_is_named_when_the_store_is_opened(team, fault):
    with fault(team):
        start = time.monotonic()
        said = refusal(lambda: use_store(team.server.url))
        assert time.monotonic() - start < 30
    check_sentence(team, said, REFUSALS[fault])


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as raised:
        work()
    return str(raised.value)


def without_answer(said: str) -> str:
    """Without what stands in brackets: a bucket that takes no file answers with an error or cuts the connection."""
    return re.sub(r"\(error 5\d\d\)|\(the connection was cut\)", "", said)


def check_sentence(team: Team, said: str, pattern: str) -> None:
    assert re.fullmatch(rf"The store {team.server.url} {pattern}[^\n]*\.", said)
    assert PASSWORD not in said
