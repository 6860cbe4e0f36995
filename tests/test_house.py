"""The house: no circle, no arrow that runs back up, and each room keeps to its concept."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From the ground up: a module imports only what stands before it. Those of one line do not import each other.
STOREYS = """
    helpers
    helpers.child helpers.parameters helpers.surroundings helpers.trials helpers.tables helpers.game_pyfunc
    helpers.serving
    helpers.games helpers.locked helpers.team_users
    helpers.simulate helpers.features helpers.bracket helpers.scoring helpers.plots
    helpers.sources helpers.monitoring helpers.models helpers.stores
    helpers.models.fitted helpers.stores.place helpers.stores.server
    helpers.stores.hosted helpers.models.keras helpers.models.sklearn helpers.stores.folder
    helpers.models.torch helpers.team
    helpers.baselines helpers.stores.experiments helpers.stores.move
    helpers.stores.store
    helpers.claims helpers.records helpers.registry
    helpers.candidates helpers.sweep helpers.explore helpers.forward helpers.promotion
    helpers.search helpers.scale helpers.gate helpers.seasons helpers.carry helpers.tidy helpers.cards
    helpers.tools
    helpers.tools.execute helpers.tools.serve helpers.tools.reference helpers.tools.share
    helpers.tools.outputs helpers.tools.book
"""
STOREY = {name: height for height, line in enumerate(STOREYS.split("\n")) for name in line.split()}
GAMES = ("games", "simulate", "sources", "features", "bracket", "scoring", "baselines", "monitoring")
DOMAIN = {f"helpers.{name}" for name in GAMES}


def imports(path: Path) -> set[str]:
    """What a module imports anywhere in it: modules of the house by their full names, others by the first word."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in STOREY else node.module for name in names}
    return {name if name in STOREY else name.split(".")[0] for name in found}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


HOUSE = {name_of(path): imports(path) for path in sorted((ROOT / "helpers").rglob("*.py"))}


def test_every_module_has_its_storey():
    assert set(HOUSE) == set(STOREY)


@pytest.mark.parametrize("module", HOUSE)
def test_a_module_imports_only_what_stands_below_it(module):
    assert {other for other in HOUSE[module] if other in STOREY and STOREY[other] >= STOREY[module]} == set()


def test_trials_import_nothing_of_the_house():
    assert HOUSE["helpers.trials"] & set(STOREY) == set()


def test_the_domain_and_the_models_know_no_mlflow():
    rooms = [module for module in HOUSE if module in {*DOMAIN, "helpers.trials"} or "models" in module]
    assert [module for module in rooms if "mlflow" in HOUSE[module]] == []


def test_the_registry_knows_no_basketball():
    assert HOUSE["helpers.registry"] & DOMAIN == set()


def test_only_its_own_module_imports_a_library_to_train_with():
    for libraries, module in (({"keras", "tensorflow"}, "keras"), ({"torch"}, "torch"), ({"optuna"}, "")):
        home = f"helpers.models.{module}" if module else "helpers.search"
        rooms = set(HOUSE) - {"helpers.game_pyfunc"}  # which is shipped with each model, to stand without the house
        assert [room for room in HOUSE if libraries & HOUSE[room] and room in rooms] == [home]


def test_what_is_shipped_with_a_model_needs_nothing_of_the_house():
    assert HOUSE["helpers.game_pyfunc"] & set(STOREY) == set()


def test_no_notebook_imports_a_tool_and_no_helper_a_notebook():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert not re.search(r"helpers(\.| import )tools", path.read_text())


def test_importing_the_house_starts_nothing():
    code = f"import sys, {', '.join(HOUSE)}; print({{'tensorflow', 'keras', 'torch'}} & {{*sys.modules}}, end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()", "")
