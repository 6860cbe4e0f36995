"""A store copied elsewhere and back holds the same rows, its models load, and what cannot be copied is said."""

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import mlflow
import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import MetaData, create_engine, select, text

from helpers import registry
from helpers.child import free_ports
from helpers.promotion import promote
from helpers.registry import find_version
from helpers.stores import StoreError, move
from helpers.stores.move import Place, copy_store, place_of
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from helpers.tools.share import postgresql
from helpers.trials import Trial, product_name
from tests.conftest import ROOT
from tests.support.process import finish, registered, start
from tests.support.server import running_server
from tests.support.team import open_folder, parts_are_missing
from tests.support.work import SPLIT, whole

TRIALS = [Trial("linear", {"C": C}, 1, "strong", "made-up") for C in (0.01, 0.1, 1.0)]
DIE = """
import os, signal, sys
from helpers.stores import move

name, call, *places = sys.argv[1:]
honest, calls = getattr(move, name), []

def deadly(*args):
    calls.append(name)
    if len(calls) == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(*args)

setattr(move, name, deadly)
move.copy_store(*map(move.place_of, places))
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A store with one of everything that MLflow keeps for us, and some that it keeps for others."""
    folder = tmp_path_factory.mktemp("ein Störe")
    use_store(str(folder))
    run_sweep(TRIALS, SPLIT)
    client = mlflow.MlflowClient()
    first, second, third = (find_version(trial.model, trial.key) for trial in TRIALS)
    products = [client.copy_model_version(f"models:/{v.name}/{v.version}", product_name()) for v in (first, second)]
    promote(products[0], None, "forced", "a test")
    client.set_registered_model_tag(product_name(), "owner", "ann")
    client.update_registered_model(product_name(), "Predicts 🏀.")
    client.log_metric(third.run_id, "undefined", float("nan"))
    client.delete_run(client.create_run("0", run_name="gone").info.run_id)
    keep_a_trace(folder, first.run_id)
    return folder


def keep_a_trace(folder: Path, run_id: str) -> None:
    """A trace with a file, as other projects keep them, whose address MLflow has in a tag."""
    place = Path(local_file_uri_to_path(mlflow.get_run(run_id).info.artifact_uri)).parents[1] / "traces" / "tr-1"
    place.mkdir(parents=True)
    (place / "traces.json").write_text("{}")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        columns = "request_id, experiment_id, timestamp_ms, status"
        connection.execute(f"INSERT INTO trace_info ({columns}) VALUES ('tr-1', 1, 0, 'OK')")
        tag = ("mlflow.artifactLocation", place.as_uri(), "tr-1")
        connection.execute("INSERT INTO trace_tags (key, value, request_id) VALUES (?, ?, ?)", tag)


def server_of(folder: Path) -> str:
    """A team's server, as tests.support.server runs it on a folder."""
    folder.mkdir()
    return f"sqlite:///{folder / 'mlflow.db'},{folder / 'artifacts'}"


def rows(place: Place) -> dict[str, list[str]]:
    """Every row of every table, with addresses from where the store begins and by their experiments' numbers."""
    metadata, found = MetaData(), {}
    own = {f"'{home}": f"'/{number}" for home, number in numbers(place).items()}
    engine = create_engine(place.database)
    with engine.connect() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            read = [repr(dict(row)) for row in connection.execute(select(table)).mappings()]
            found[table.name] = sorted(renamed(row.replace(place.addresses, ""), own) for row in read)
    engine.dispose()
    return found


def numbers(place: Place) -> dict[str, int]:
    """The experiments' numbers, by where their artifacts lie, from where the store begins."""
    engine = create_engine(place.database)
    with engine.connect() as connection:
        query = "SELECT artifact_location, experiment_id FROM experiments"
        found = connection.execute(text(query)).all()
    engine.dispose()
    return {location.removeprefix(place.addresses): number for location, number in found}


def renamed(row: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        row = row.replace(old, new)
    return row


def files(place: Place) -> dict[str, bytes]:
    """Every artifact, by its path from its experiment's number on."""
    folder, own = Path(local_file_uri_to_path(place.files)), numbers(place)
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {f"{own[f'/{path.parts[0]}']}/{'/'.join(path.parts[1:])}": (folder / path).read_bytes() for path in paths}


@pytest.fixture
def postgres() -> Iterator[str]:
    """An empty database of PostgreSQL's."""
    with open_folder() as folder, postgresql(folder) as database:
        yield database.address


def test_a_folder_is_copied_row_by_row_and_file_by_file(filled, tmp_path):
    source, target = place_of(str(filled)), place_of(str(tmp_path / "copy"))
    copy_store(source, target)
    assert rows(source) == rows(target)
    assert files(source) == files(target)
    whole(str(tmp_path / "copy"), 3)
    assert run_sweep(TRIALS, SPLIT)["outcome"].tolist() == 3 * ["found"]


def test_a_servers_store_is_read_over_http_and_comes_back(filled, tmp_path):
    server = place_of(server_of(tmp_path / "server"))
    copy_store(place_of(str(filled)), server)
    with running_server(tmp_path / "server") as running:
        whole(running.url, 3)
        version = mlflow.MlflowClient().get_model_version_by_alias(product_name(), "champion")
        assert len(registry.load(version).predict(SPLIT.test)) == len(SPLIT.test)
        run = mlflow.get_run(version.run_id).info
        assert run.artifact_uri.startswith(f"mlflow-artifacts:/{run.experiment_id}/")  # where basic-auth looks for it
        run_sweep([Trial("linear", {"C": 10.0}, 1, "strong", "made-up")], SPLIT)
    back = place_of(str(tmp_path / "back"))
    copy_store(server, back)
    assert rows(server) == rows(back)
    whole(str(tmp_path / "back"), 4)


def test_a_store_that_began_on_a_server_is_a_folder_that_use_store_takes(tmp_path):
    server = server_of(tmp_path / "server")
    with running_server(tmp_path / "server") as running:
        use_store(running.url)
        run_sweep(TRIALS[:1], SPLIT)
    copy_store(place_of(server), place_of(str(tmp_path / "folder")))
    whole(str(tmp_path / "folder"), 1)


@parts_are_missing
def test_postgresql_takes_a_store_counts_on_from_it_and_gives_it_back(filled, postgres, tmp_path):
    server = place_of(f"{postgres},{tmp_path / 'artifacts'}")
    copy_store(place_of(str(filled)), server)
    assert rows(place_of(str(filled))) == rows(server)
    mlflow.MlflowClient(postgres).create_experiment("one more", "mlflow-artifacts:/one-more")
    back = place_of(str(tmp_path / "back"))
    copy_store(server, back)
    whole(str(tmp_path / "back"), 3)
    assert mlflow.get_experiment_by_name("one more").artifact_location.startswith(back.addresses)


def test_a_backup_taken_while_a_sweep_runs_is_a_store_that_a_sweep_completes(tmp_path):
    store = tmp_path / "store"
    sweep = start(str(store), "eighteen")
    assert ": trained" in sweep.readline()
    for number in count():
        assert sweep.returncode is None
        backup = tmp_path / f"backup {number}" / "store"
        wait_for_a_run_at_work(store)
        copy_store(place_of(str(store)), place_of(str(backup)))
        if runs_at_work(backup):
            break
    _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, errors
    whole(str(store), 18)
    assert 0 < len(registered(str(backup))) < 18
    finish(str(backup), "eighteen")


def wait_for_a_run_at_work(store: Path) -> None:
    deadline = time.monotonic() + 60
    while not runs_at_work(store):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs_at_work(store: Path) -> int:
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        return connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0]


def test_what_is_written_during_a_copy_is_not_held_up_and_left_out(store, tmp_path, monkeypatch):
    run_sweep(TRIALS[:1], SPLIT)
    source, target = place_of(str(store)), place_of(str(tmp_path / "copy"))
    before, honest = rows(source), move._copy_files

    def busy(*args):
        run_sweep(TRIALS[1:2], SPLIT)
        honest(*args)

    monkeypatch.setattr(move, "_copy_files", busy)
    copy_store(source, target)
    assert rows(source) != before
    assert rows(target) == before


@pytest.mark.parametrize(("name", "call"), [("_check_empty", 1), ("_copy_files", 3), ("_row", 20)])
def test_a_copy_that_was_killed_is_made_whole_by_the_next_call(filled, tmp_path, name, call):
    places = [str(filled), server_of(tmp_path / "server")]
    killed = subprocess.run([sys.executable, "-c", DIE, name, str(call), *places], cwd=ROOT, check=False)
    assert killed.returncode == -9
    command = [sys.executable, "-m", "helpers.stores.move", *places]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stderr == b""
    source, target = map(place_of, places)
    assert rows(source) == rows(target)
    assert files(source) == files(target)


def test_a_file_that_a_sweep_is_just_renaming_is_copied_in_the_next_attempt(filled, tmp_path, monkeypatch):
    honest, calls = LocalArtifactRepository.log_artifacts, []

    def late(*args):
        calls.append(args)
        if len(calls) % 3:
            raise FileNotFoundError(".mlflow-artifact-1")
        honest(*args)

    monkeypatch.setattr(LocalArtifactRepository, "log_artifacts", late)
    source, target = place_of(str(filled)), place_of(str(tmp_path / "copy"))
    copy_store(source, target)
    assert files(source) == files(target)


def test_artifacts_that_cannot_be_copied_are_named_and_no_row_is(filled, tmp_path):
    target = place_of(str(tmp_path / "copy"))
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "artifacts").write_text("no folder")
    with pytest.raises(StoreError, match=r"^file://.* cannot be copied to file://.*/copy/artifacts/"):
        copy_store(place_of(str(filled)), target)
    assert len(rows(target)["experiments"]) == 1


def test_a_store_that_was_moved_and_not_mended_is_not_copied(filled, tmp_path):
    shutil.copytree(filled, tmp_path / "moved")
    with pytest.raises(StoreError, match=r"The store's artifacts are in file://.* and not in file://.*/moved/art"):
        copy_store(place_of(str(tmp_path / "moved")), place_of(str(tmp_path / "copy")))


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_database_of_another_mlflow_is_refused(filled, store, tmp_path, which):
    other = shutil.copytree(filled if which == "source" else store, tmp_path / "other")
    with closing(sqlite3.connect(other / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    source, target = (other, tmp_path / "copy") if which == "source" else (filled, other)
    with pytest.raises(StoreError, match=r"/other/mlflow\.db was made by another MLflow .* mlflow db upgrade"):
        copy_store(place_of(str(source)), place_of(str(target)))


def test_where_there_is_no_store_none_is_made(tmp_path):
    with pytest.raises(
        StoreError, match=r"There is no store in .*/nothing: name the folder that holds its mlflow\.db\."
    ):
        copy_store(place_of(str(tmp_path / "nothing")), place_of(str(tmp_path / "copy")))
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_a_store_is_no_source(tmp_path):
    sqlite3.connect(tmp_path / "games.db").close()
    source = place_of(f"sqlite:///{tmp_path / 'games.db'},artifacts")
    with pytest.raises(StoreError, match=r"^There is no store in sqlite:////.*/games\.db: correct the address\.$"):
        copy_store(source, place_of(str(tmp_path / "copy")))


def test_a_database_that_does_not_answer_is_named_without_its_password(filled):
    database = f"postgresql://ann:secret@127.0.0.1:{free_ports(1)[0]}/mlflow"
    with pytest.raises(
        StoreError, match=r"The database postgresql://ann:\*\*\*@127\.0\.0\.1.* cannot be used"
    ) as raised:
        copy_store(place_of(str(filled)), place_of(f"{database},artifacts"))
    assert "secret" not in str(raised.value)


def test_a_place_is_a_folder_or_a_database_and_a_destination(tmp_path):
    files = (tmp_path / "a b" / "artifacts").as_uri()
    assert place_of(str(tmp_path / "a b")) == (f"sqlite:///{tmp_path}/a b/mlflow.db", files, files)
    proxied = ("postgresql://one,two/mlflow", "s3://bucket/mlflow", "mlflow-artifacts:")
    assert place_of("postgresql://one,two/mlflow,s3://bucket/mlflow/") == proxied
    with pytest.raises(ValueError, match="cannot hold the %"):
        place_of(str(tmp_path / "50 %"))


def test_a_server_without_a_place_for_its_artifacts_is_refused_in_a_sentence():
    command = [sys.executable, "-m", "helpers.stores.move", "folder", "postgresql://localhost/mlflow"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "postgresql://localhost/mlflow: name a server's store as its database, a comma and its --art"
    )


def test_a_store_that_holds_anything_is_not_copied_over(filled, store):
    before = rows(place_of(str(store)))
    with pytest.raises(StoreError, match=r"mlflow\.db is not empty: copy into a new one\."):
        copy_store(place_of(str(filled)), place_of(str(store)))
    assert rows(place_of(str(store))) == before
