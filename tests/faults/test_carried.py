"""What was packed answers the same in a fresh environment of its requirements alone; a kill on the way in is mended."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import carry, registry
from helpers.stores.store import use_store
from helpers.sweep import run_trial
from helpers.trials import Trial, product_name
from tests.conftest import ROOT
from tests.support.work import SPLIT
from tests.versions.chain import run

GAMES = SPLIT.test.head(20)
TRIALS = {"linear": {"C": 0.1}, "small": {"learning_rate": 0.01, "epochs": 2}}
ASK = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
import mlflow, pandas as pd
folder = Path(sys.argv[1])
games = pd.read_csv(folder / "games.csv")
answers = mlflow.pyfunc.load_model(str(folder / "model")).predict(games.drop(columns="Prediction"))
apart = float((answers[0] - games["Prediction"]).abs().max())
print(json.dumps({"apart": apart, "games": len(answers), "has_helpers": find_spec("helpers") is not None}))
"""
DIE = """
import os, signal, sys
from pathlib import Path
from helpers import carry, claims, registry
from helpers.stores.store import use_store

store, folder, room, call = sys.argv[1:]
honest = getattr(vars()[room], call)
setattr(vars()[room], call, lambda *given: (honest(*given), os.kill(os.getpid(), signal.SIGKILL)))
use_store(store)
carry.unpack(Path(folder), "march-madness")
"""


@pytest.fixture
def fresh(tmp_path) -> Iterator[Path]:
    """A place for an environment, which is not kept: it takes up to 2 GB."""
    yield tmp_path / "fresh"
    shutil.rmtree(tmp_path / "fresh")


def packed(architecture: str, folder: Path) -> Path:
    version = run_trial(Trial(architecture, TRIALS[architecture], 1, "strong", "made-up"), SPLIT)
    assert carry.pack(version, folder, GAMES, ROOT / "requirements.lock") == ""
    return folder


@pytest.mark.parametrize("architecture", TRIALS)
def test_it_answers_the_same_where_only_its_requirements_are(architecture, store, fresh, tmp_path):
    folder = packed(architecture, tmp_path / "carried")
    run("uv", "venv", "--quiet", "--python", sys.executable, str(fresh))
    python, wanted = str(fresh / "bin" / "python"), str(folder / "requirements.txt")
    run("uv", "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", wanted)
    away = tmp_path / "away"
    away.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    asked = subprocess.run([python, "-c", ASK, str(folder)], cwd=away, env=env, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout.splitlines()[-1])
    assert said.pop("apart") <= json.loads((folder / "lineage.json").read_text())["tolerance"]
    assert said == {"games": len(GAMES), "has_helpers": False}
    assert list(away.iterdir()) == []
    lines = [line.rstrip("\\ ") for line in Path(wanted).read_text().splitlines() if not line.startswith(" ")]
    installed = {line.partition("==")[0] for line in run("uv", "pip", "freeze", "--python", python).splitlines()}
    assert set(map(canonicalize_name, installed)) <= {canonicalize_name(Requirement(line).name) for line in lines}
    assert carry.unpack(folder, product_name())  # the folder was only asked


@pytest.mark.parametrize(
    ("room", "call"),
    [("claims", "claim"), ("registry", "log_folder"), ("registry", "check_reloaded"), ("registry", "register")],
)
def test_a_registration_that_is_killed_is_finished_by_the_next_call(store, tmp_path, room, call):
    folder = packed("linear", tmp_path / "carried")
    killed = subprocess.run([sys.executable, "-c", DIE, str(store), str(folder), room, call], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    use_store(str(store))
    left = registry.search_versions(f"name = '{product_name()}'")
    assert [registry.counts(version) for version in left] == [False] * (call == "register")
    version = carry.unpack(folder, product_name())
    assert [found.version for found in registry.search_versions(f"name = '{product_name()}'")] == [version.version]
    assert registry.counts(version)
    assert len(registry.load(version).predict(GAMES)) == len(GAMES)
    assert mlflow.search_runs(search_all_experiments=True, filter_string="attributes.status = 'RUNNING'").empty
