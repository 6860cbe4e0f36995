"""One list of dependencies that every way of installing agrees with, and a tidy tree."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.util import cache_from_source
from pathlib import Path

import mlflow
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
# PyTorch is in no lock: the build that an index gives for Linux may take gigabytes.
EXTRAS = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "torch" for line in lines]
WANTED = [Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS]]


def test_the_lock_pins_every_dependency_within_its_bounds():
    pins = [Requirement(line.rstrip(" \\")) for line in LOCK.splitlines() if re.match(r"\w", line)]
    for wanted in WANTED:
        found = [pin for pin in pins if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
        assert found, f"{wanted.name} is not in requirements.lock; run make lock"
        for pin in found:
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert exact.version in wanted.specifier, f"{pin} is out of {wanted}; run make lock"


def test_the_pytorch_of_make_is_one_that_is_allowed():
    (wanted,) = map(Requirement, PROJECT["optional-dependencies"]["torch"])
    (pin,) = re.findall(r"^TORCH \?= torch==(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert pin in wanted.specifier


def test_every_pin_has_a_hash_and_no_index_is_named():
    blocks = re.split(r"\n(?=\w)", LOCK.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|--(extra-)?index|--find-links", LOCK)


def test_what_is_installed_is_compiled():
    """Where Python may write no bytecode, as in many containers, every start would compile it again."""
    assert Path(cache_from_source(mlflow.__file__)).exists()


@pytest.mark.skipif(not Path(sys.prefix, "ready").exists(), reason="this environment was not made from the lock")
def test_the_installed_versions_are_those_of_the_lock():
    code = "from importlib.metadata import version; import sys; print(*map(version, sys.argv[1:]))"
    names = [wanted.name for wanted in WANTED]
    shown = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True).stdout
    for name, installed in zip(names, shown.split(), strict=True):
        assert f"{canonicalize_name(name)}=={installed}" in LOCK, f"{name} {installed} is installed, another is locked"


def test_condas_door_installs_this_package_and_lists_nothing_else():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, inner = environment["dependencies"]
    assert environment["channels"]
    assert pip == "pip"
    assert inner == {"pip": ["-e ."]}
    bounds = Requirement(python.replace(" ", "")).specifier
    assert bounds == Requirement("python" + PROJECT["requires-python"]).specifier


def test_nothing_is_listed_twice():
    names = [canonicalize_name(wanted.name) for wanted in WANTED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_is_content(command):
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    result = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_no_real_game_is_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [name for name in tracked.split() if name.endswith((".csv", ".db", ".keras"))] == []


def test_every_helper_is_explained():
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        tree = ast.parse(path.read_text())
        public = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        assert path.stem == "__init__" or ast.get_docstring(tree), path.name
        assert [node.name for node in public if not ast.get_docstring(node)] == [], path.name
        assert [node.name for node in public if node.returns is None] == [], path.name
