"""Environments that uv makes, the notebooks run in one, and what its store holds then."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

from filelock import FileLock

from tests.conftest import ROOT
from tests.test_notebooks import SMALL

ENVIRONMENTS = tomllib.loads((Path(__file__).parent / "environments.toml").read_text())
HOME = Path(sys.prefix) / "versions"  # of the environments
# But for 07, whose server has users with roles, which older MLflows do not know.
CHAIN = """
import json, sys
from pathlib import Path
from helpers import NOTEBOOKS
from helpers.tools.execute import execute_some
output = Path(sys.argv[1])
output.mkdir(parents=True)
execute_some(sorted(NOTEBOOKS.glob("0[0-6]*.ipynb")), output, json.loads(sys.argv[2]))
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
            without = ["tensorflow", *wanted.get("without", ())]  # tensorflow-cpu does as well
            (HOME / "overrides.txt").write_text("".join(f"{package}; python_version < '3'\n" for package in without))
            run("uv", "venv", "--quiet", "--clear", "--python", wanted["python"], str(folder))
            packages = [*wanted["packages"], "tensorflow-cpu", "-e", str(ROOT)]
            # Compiled: where Python may write no bytecode, as in many containers, each kernel would do it anew.
            how = ["--quiet", "--compile-bytecode", "--overrides", str(HOME / "overrides.txt")]
            run("uv", "pip", "install", "--python", str(python), *how, *packages)
            made.write_text(made_of)
    return str(python)


def run(command: str, *arguments: str, **variables: str) -> str:
    """What a command prints, with variables beside those of the environment; its errors are shown if it fails."""
    found = shutil.which(command, path=f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")
    env = {**every_python(), **variables}
    done = subprocess.run(
        [found, *arguments], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command} {' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@cache
def every_python() -> dict[str, str]:
    """This environment, in which pyenv, where there is one, lets uv find all the Pythons that it has."""
    if not shutil.which("pyenv"):
        return dict(os.environ)
    pythons = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout
    return {**os.environ, "PYENV_VERSION": ":".join(pythons.split())}


def chain(name: str, store: str, output: Path, **variables: str) -> dict:
    """Run all notebooks in an environment, and give back what its store holds then."""
    run(python_of(name), "-c", CHAIN, str(output), json.dumps({**SMALL, "STORE": store}), **variables)
    assert not [path for path in output.glob("*.ipynb") if "alembic" in path.read_text()], "a wall of logs"
    return contents(name, store, **variables)


def contents(name: str, store: str, **variables: str) -> dict:
    return json.loads(run(python_of(name), "-m", "tests.support.contents", store, **variables).splitlines()[-1])


def check(held: dict) -> None:
    """Assert that a store holds what the notebooks leave."""
    assert sorted(held["grid"].count(name) for name in set(held["grid"])) == [3, 3, 3]
    assert held["scored"]
    assert held["aliases"]["champion"] in (1, 3)
    assert held["products"] == [1, 2, 3, 4, 5]
    assert [how for *_, how in held["moves"][-2:]] == ["forced", "rolled back"]
    assert held["runs"] >= len(held["candidates"]) >= 9 + 7 + 5 + 1
