"""A full disk, a read-only folder, and a folder that was moved."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from helpers import registry
from helpers.stores import StoreError
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.conftest import ROOT
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials, whole

USE = """
import sys, time
start = time.monotonic()
import mlflow
from helpers.models import keras
from helpers import registry
from tests.support.names import CANDIDATES
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.support.work import SPLIT, trials
keras.start_keras()
use_store(sys.argv[1])
version = mlflow.search_model_versions()[0]
assert len(registry.load(version).predict(SPLIT.validation)) == len(SPLIT.validation)
print("loads", flush=True)
start = time.monotonic()
try:
    run_sweep(trials(), SPLIT)
except Exception as error:
    print(type(error).__name__, error)
print("seconds", time.monotonic() - start)
"""


@pytest.fixture
def filled(store):
    """A store with one finished trial."""
    use_store(str(store))
    run_sweep(trials()[:1], SPLIT)
    return store


def in_namespace(script: str) -> str:
    """What USE prints after a shell script in a mount namespace of its own, where this user may mount."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-euc", script, sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=USE, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_refusal(printed: str, folder: Path, why: str) -> None:
    loads, found, refusal, seconds = printed.splitlines()
    assert found == "march-madness-small, learning rate 0.001: found"
    assert loads == "loads"
    assert refusal == f"StoreError The store's folder {folder} cannot be written: {why}."
    assert float(seconds.split()[1]) < 5


def test_a_read_only_folder_is_named_and_what_was_there_loads(filled):
    script = f"mount --bind {filled} {filled}; mount -o remount,ro,bind {filled}; $0 - {filled}"
    check_refusal(in_namespace(script), filled, "Read-only file system")
    whole(str(filled), 1)


def test_a_full_disk_is_named_and_what_was_there_loads(filled, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    script = f"""
        mount -t tmpfs -o size=6m none {small}
        cp -r {filled}/. {small}
        $0 -m helpers.stores.folder {small}
        cat /dev/zero > {small}/rest 2> /dev/null || true
        $0 - {small}
        rm {small}/rest
        $0 -m tests.support.work {small} nine > /dev/null 2>&1
    """
    check_refusal(in_namespace(script), small, "No space left on device")


def test_a_folder_that_cannot_be_made_is_named_at_once(tmp_path):
    start = time.monotonic()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        use_store(str(tmp_path / "file" / "store"))
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("place", ["moved", "with a space, and ü", "it's"])
def test_a_moved_store_says_so_and_one_command_mends_it(filled, tmp_path, place):
    client, new = mlflow.MlflowClient(), tmp_path / place / "store"
    (version,) = client.search_model_versions()
    client.create_registered_model("by-hand")  # from a run's files, not from a logged model
    client.create_model_version("by-hand", f"{mlflow.get_run(version.run_id).info.artifact_uri}/model", version.run_id)
    new.parent.mkdir()
    shutil.move(filled, new)
    with pytest.raises(StoreError, match=f"was moved or copied from {filled}; mend") as error:
        use_store(str(new))
    command = str(error.value).split("with: ")[1]
    subprocess.run(command, shell=True, cwd=ROOT, check=True)
    whole(str(new), 1)
    artifacts = (new / "artifacts" / CANDIDATES[0]).as_uri()
    assert mlflow.get_run(version.run_id).info.artifact_uri.startswith(artifacts)
    assert client.get_model_version("by-hand", "1").source.startswith(artifacts)
    assert run_sweep(trials(), SPLIT)["outcome"].tolist() == ["found", *["trained"] * 8]
    whole(str(new))
    assert not filled.exists()


def test_a_copy_is_mended_without_touching_the_first(filled, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(filled, copy)
    with pytest.raises(StoreError, match="was moved or copied"):
        use_store(str(copy))
    subprocess.run([sys.executable, "-m", "helpers.stores.folder", copy], cwd=ROOT, check=True)
    use_store(str(copy))
    (version,) = mlflow.search_model_versions()
    shutil.rmtree(filled)
    registry.load(version)
    assert os.listdir(tmp_path) == ["copy"]
