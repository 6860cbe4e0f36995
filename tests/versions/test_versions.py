"""The notebooks on other MLflows: in environments that uv makes, across servers of another version, on older stores."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import ROOT
from tests.support.server import running_server
from tests.test_notebooks import SMALL

ENVIRONMENTS = tomllib.loads((Path(__file__).parent / "environments.toml").read_text())
OLDEST, *NEWER = ENVIRONMENTS
HOME = Path(sys.prefix) / "versions"  # of the environments
CHAIN = """
import json, sys
from pathlib import Path
from helpers.tools.execute import execute_notebooks
execute_notebooks(Path(sys.argv[1]), json.loads(sys.argv[2]))
"""


def python_of(name: str) -> str:
    """The Python of an environment, which is made where it is missing or its list has changed."""
    if name == "lock":
        return sys.executable
    folder, wanted = HOME / name, ENVIRONMENTS[name]
    python, made = folder / "bin" / "python", folder / "made-of"
    made_of = json.dumps(wanted) + (ROOT / "pyproject.toml").read_text()
    HOME.mkdir(exist_ok=True)
    with FileLock(HOME / "lock"):
        if not made.exists() or made.read_text() != made_of:
            (HOME / "overrides.txt").write_text("tensorflow; python_version < '3'\n")  # tensorflow-cpu does as well
            run("uv", "venv", "--quiet", "--clear", "--python", wanted["python"], str(folder))
            packages = [*wanted["packages"], "tensorflow-cpu", "-e", str(ROOT)]
            overrides = ["--overrides", str(HOME / "overrides.txt")]
            run("uv", "pip", "install", "--quiet", "--python", str(python), *overrides, *packages)
            made.write_text(made_of)
    return str(python)


def run(command: str, *arguments: str) -> str:
    """What a command prints; its errors are shown if it fails."""
    found = shutil.which(command, path=f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run([found, *arguments], cwd=ROOT, env=every_python(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command} {' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@cache
def every_python() -> dict[str, str]:
    """This environment, in which pyenv, where there is one, lets uv find all the Pythons that it has."""
    if not shutil.which("pyenv"):
        return dict(os.environ)
    pythons = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout
    return {**os.environ, "PYENV_VERSION": ":".join(pythons.split())}


def chain(name: str, store: str, output: Path) -> dict:
    """Run all notebooks in an environment, and give back what its store holds then."""
    run(python_of(name), "-c", CHAIN, str(output), json.dumps({**SMALL, "STORE": store}))
    assert not [path for path in output.glob("*.ipynb") if "alembic" in path.read_text()], "a wall of logs"
    return contents(name, store)


def contents(name: str, store: str) -> dict:
    return json.loads(run(python_of(name), "-m", "tests.support.contents", store).splitlines()[-1])


def what(name: str) -> str:
    """An environment in a word or two, for the README's table."""
    return ENVIRONMENTS[name]["what"] if name in ENVIRONMENTS else "the lock"


def check(held: dict) -> None:
    names = [name for name, *_ in held["candidates"]]
    assert sorted(names.count(name) for name in set(names)) == [3, 3, 3]
    assert held["scored"]
    assert held["aliases"] == {"champion": 1}
    assert held["products"] == [1, 2]
    assert held["runs"] == 10


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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_notebooks_run_twice_on_one_store(name, shared, record_property):
    record_property("row", [what(name), "a folder", "all notebooks, twice"])
    _, (first, second) = filled(name, shared)
    check(first)
    assert second == first


@pytest.mark.parametrize(("client", "server"), [("lock", "fabric-2.0"), ("fabric-2.0", "lock")])
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
