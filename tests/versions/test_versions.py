"""The notebooks on other MLflows: in environments that uv makes, across servers of another version, on older stores."""

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.server import running_server
from tests.versions.chain import ENVIRONMENTS, chain, check, contents, python_of, run

OLDEST, *NEWER = WHOLE = [name for name, wanted in ENVIRONMENTS.items() if "without" not in wanted]


def what(name: str) -> str:
    """An environment in a word or two, for the README's table."""
    return ENVIRONMENTS[name]["what"] if name in ENVIRONMENTS else "the lock"


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id) -> Path:
    """A folder that all processes of this run of pytest have in common."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


def filled(name: str, shared: Path) -> tuple[Path, list[dict]]:
    """The store that the notebooks filled twice in an environment, once for all tests, and what it held either time."""
    folder = shared / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "held.json").exists():
            held = [chain(name, str(folder / "store"), folder / time) for time in ("first", "second")]
            (folder / "held.json").write_text(json.dumps(held))
    return folder / "store", json.loads((folder / "held.json").read_text())


@pytest.mark.parametrize("name", WHOLE)
def test_the_notebooks_run_twice_on_one_store(name, shared, record_property):
    record_property("row", [what(name), "a folder", "all notebooks, twice"])
    _, (first, second) = filled(name, shared)
    check(first)
    assert second == first


@pytest.mark.parametrize(
    ("client", "server"), [("lock", "fabric-2.0"), ("fabric-2.0", "lock"), ("skinny", "fabric-2.0")]
)
def test_client_and_server_may_be_of_different_versions(client, server, tmp_path, record_property):
    record_property("row", [what(client), f"a server of {what(server)}", "all notebooks"])
    with running_server(tmp_path, python_of(server)) as running:
        check(chain(client, running.url, tmp_path / "outputs"))


@pytest.mark.parametrize("name", [*NEWER, "lock"])
def test_an_older_store_is_refused_until_it_is_upgraded_and_then_answers_the_same(
    name, shared, tmp_path, record_property
):
    record_property("row", [what(name), f"a folder of {what(OLDEST)}, upgraded", "the champion, found and asked"])
    store, (_, held) = filled(OLDEST, shared)
    shutil.copytree(store, tmp_path / "store")
    run(python_of(name), "-m", "helpers.stores.folder", str(tmp_path / "store"))
    with pytest.raises(AssertionError, match="make a copy of the store and run: ") as refusal:
        contents(name, str(tmp_path / "store"))
    sentence = next(line for line in str(refusal.value).splitlines() if "make a copy of the store and run: " in line)
    run("sh", "-c", sentence.partition("make a copy of the store and run: ")[2].rstrip())
    assert contents(name, str(tmp_path / "store")) == held
