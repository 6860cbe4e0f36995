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

ENVIRONMENTS = tomllib.loads((Path(__file__).parent / "environments.toml").read_text())
OLDEST, *NEWER = ENVIRONMENTS
HOME = Path(sys.prefix) / "versions"
CHAIN = """
import sys
from pathlib import Path
from helpers.tools.execute import execute_notebooks
small = {"EPOCHS": 2, "VALIDATION_SEASONS": 1, "TEST_SEASONS": 2}
execute_notebooks(Path(sys.argv[1]), {**small, "STORE": sys.argv[2]})
"""
# One after the other in one process of pytest's, for the oldest environment's store is opened by the others.
with_the_oldest = pytest.mark.xdist_group(OLDEST)
each = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ENVIRONMENTS]


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
    run(python_of(name), "-c", CHAIN, str(output), store)
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


@pytest.fixture(scope="module")
def chained(tmp_path_factory) -> dict[str, tuple[Path, dict]]:
    """Stores that the notebooks filled in an environment, and what they hold, by the environment's name."""
    return {}


@pytest.mark.parametrize("name", each)
def test_the_notebooks_run_twice_on_one_store(name, chained, tmp_path_factory, record_property):
    record_property("row", [what(name), "a folder", "all notebooks, twice"])
    folder = tmp_path_factory.mktemp(name)
    first = chain(name, str(folder / "store"), folder / "first")
    check(first)
    assert chain(name, str(folder / "store"), folder / "second") == first
    chained[name] = folder / "store", first


@pytest.mark.parametrize(
    ("client", "server"),
    [
        pytest.param("lock", "fabric-2.0", marks=pytest.mark.xdist_group("fabric-2.0")),
        pytest.param("fabric-2.0", "lock", marks=pytest.mark.xdist_group("fabric-2.0")),
    ],
)
def test_client_and_server_may_be_of_different_versions(client, server, tmp_path, record_property):
    record_property("row", [what(client), f"a server of {what(server)}", "all notebooks"])
    with running_server(tmp_path, python_of(server)) as running:
        check(chain(client, running.url, tmp_path / "outputs"))


@with_the_oldest
@pytest.mark.parametrize("name", [*NEWER, "lock"])
def test_an_older_store_is_refused_until_it_is_upgraded_and_then_answers_the_same(
    name, chained, tmp_path, record_property
):
    record_property("row", [what(name), f"a folder of {what(OLDEST)}, upgraded", "the champion, found and asked"])
    store, held = chained[OLDEST]
    shutil.copytree(store, tmp_path / "store")
    run(python_of(name), "-m", "helpers.stores.folder", str(tmp_path / "store"))
    with pytest.raises(AssertionError, match="make a copy of the store and run: ") as refusal:
        contents(name, str(tmp_path / "store"))
    sentence = next(line for line in str(refusal.value).splitlines() if "make a copy of the store and run: " in line)
    run("sh", "-c", sentence.partition("make a copy of the store and run: ")[2].rstrip())
    assert contents(name, str(tmp_path / "store")) == held
