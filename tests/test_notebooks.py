"""Every notebook runs from an empty store to the champion, and shows a reader nothing that is not theirs."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import mlflow
import nbformat
import pytest
from mlflow.entities.model_registry import ModelVersion

from helpers import NOTEBOOKS
from helpers.stores.store import use_store
from helpers.tools import execute, outputs
from tests.conftest import ROOT
from tests.support.contents import contents
from tests.support.names import CANDIDATES
from tests.support.voice import count_all

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
SHARED = {"SOURCE", "STORE", "SEED", "VALIDATION_SEASONS", "TEST_SEASONS", "EPOCHS", "LEARNING_RATES", "SEASON"}
SHARED |= {"TRIALS", "MARGIN", "DATABASE", "ARTIFACTS"}
SMALL = {"EPOCHS": 2, "VALIDATION_SEASONS": 1, "TEST_SEASONS": 2, "TRIALS": 5}
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def parameters_cell(path: Path):
    (cell,) = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    return cell


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> tuple[Path, dict]:
    """The whole chain on an empty store: the folder of outputs, beside which the store lies, and what that holds."""
    folder = tmp_path_factory.mktemp("chain")
    execute.execute_notebooks(folder / "build", {**SMALL, "STORE": str(folder / "store")})
    return folder / "build", contents(str(folder / "store"))


def test_the_chain_leaves_nine_scored_candidates_and_a_champion(chain):
    _, held = chain
    assert [held["grid"].count(name) for name in CANDIDATES] == [3, 3, 3]
    assert held["scored"]
    assert 0 < held["test_brier"] < 1
    assert held["products"] == [1, 2, 3, 4, 5]  # grid's best, trained further, challenger, worst, refit
    first, *gated, forced, back = held["moves"]
    assert first == ["", "1", "by hand"]
    assert gated in ([], [["1", "3", "gate"]])
    champion = "3" if gated else "1"
    assert [forced, back] == [[champion, "4", "forced"], ["4", champion, "rolled back"]]
    assert held["aliases"] == {"champion": int(champion), "challenger": 3, "previous": 4, "forecast": 5}
    others = 7 + 1 + 1 + 5 + 2  # regressions, held back, PyTorch, random draws, guided beyond the three they share
    assert len(held["candidates"]) == 9 + others
    assert held["runs"] - len(held["candidates"]) - 2 in range(3)  # further training and refit, and what was given up


@every_notebook
def test_every_cell_ran_in_order_and_without_a_word_on_stderr(chain, path):
    check_complete(chain[0] / path.name)


def check_complete(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell.outputs]
    assert [output.text for output in shown if output.get("name") == "stderr"] == []
    assert [output for output in shown if output.output_type == "error"] == []


FOREIGN = {
    "a path": re.escape(str(ROOT)) + r"|/tmp/|/home/|/root/|file://|sqlite://|[A-Z]:\\",
    "a date": r"\b20\d\d[-/][01]\d[-/][0-3]\d\b",
    "a run's id": r"\b(m-)?[0-9a-f]{32}\b",
    "an object's address": r"\bat 0x[0-9a-f]+",
    "a code of files that hold a date": r"'seal'|\b[0-9a-f]{64}\b",
}


@every_notebook
def test_no_output_shows_where_or_when_it_was_made(chain, path):
    for folder in (NOTEBOOKS, chain[0]):
        check_nothing_foreign(folder / path.name)


def check_nothing_foreign(path: Path) -> None:
    for cell in code_cells(path):
        shown = json.dumps([{**output, "data": texts(output)} for output in cell.outputs])
        for what, pattern in FOREIGN.items():
            assert re.findall(pattern, shown) == [], f"{what} under: {cell.source}"


def texts(output) -> dict:
    """What a reader sees as text: not the pictures."""
    return {kind: data for kind, data in output.get("data", {}).items() if kind.startswith("text/")}


# What a notebook is made of


@every_notebook
def test_the_committed_outputs_are_those_of_these_cells_and_helpers(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata["stamp"] == outputs.stamp(notebook), "the outputs are stale; run make notebooks"
    check_complete(path)
    assert path.stat().st_size < 1_500_000


@every_notebook
def test_parameters_are_the_shared_ones_plain_and_each_is_read(path):
    cell = parameters_cell(path)
    declared = {}
    for statement in ast.parse(cell.source).body:
        declared[statement.targets[0].id] = ast.literal_eval(statement.value)
    rest = "\n".join(
        other.source for other in code_cells(path) if other.id != cell.id and "check_parameters(" not in other.source
    )
    read = {
        node.id for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(declared) <= SHARED
    assert set(declared) - read == set()


@every_notebook
def test_an_assert_that_a_reader_can_meet_has_a_sentence(path):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(path)))
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert [ast.unparse(node) for node in asserts if node.msg is None] == []


def test_a_parameter_has_one_default_in_all_notebooks():
    defaults = {}
    for path in PATHS:
        for statement in ast.parse(parameters_cell(path).source).body:
            defaults.setdefault(statement.targets[0].id, set()).add(ast.unparse(statement.value))
    assert set(defaults) == SHARED
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}


@every_notebook
def test_cells_are_short_and_the_metadata_bare(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "stamp"}
    assert max(len(cell.source.splitlines()) for cell in code_cells(path)) <= 20
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@every_notebook
def test_a_notebook_opens_and_closes_as_the_others(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].source.startswith(f"# {path.stem[:2]} · ")
    for part in ("**What you will do.**", "**What you will learn.**", "**What you need.**"):
        assert part in cells[0].source
    assert cells[-1].source.startswith("## What you saw")
    assert "**On your own.**" in cells[-1].source
    following = [other for other in PATHS if other.stem > path.stem]
    if following:
        assert f"]({following[0].name})" in cells[-1].source


@every_notebook
def test_links_lead_to_a_file_that_exists_before_the_run_and_after_it(chain, path):
    text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        for folder in (NOTEBOOKS, chain[0]):
            assert (folder / target).exists(), f"{folder / target}"


@every_notebook
def test_the_readme_says_how_long_each_takes_to_read(path):
    assert re.findall(rf"\]\(notebooks/{path.name}\).*\| (\d+) \|\n", outputs.README.read_text())


def test_the_first_lines_of_the_readme_load_the_champion_and_ask_it(chain):
    """Where a reader types them: beside the folder store."""
    first = re.search(r"```python\n(.*?)```", outputs.README.read_text(), re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", first], cwd=chain[0].parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^\d +(0\.\d+)$", done.stdout, re.MULTILINE)


def test_the_notebooks_speak_as_a_companion_does():
    """What voice.py counts, and how far it may go: the series were measured that readers love."""
    counts = count_all()
    assert counts["we"].min() >= 10
    assert counts["passives"].max() <= 8
    assert counts["links"].min() >= 3
    registry = counts.loc["all"] - counts.loc["00"]  # the first notebook is about the games alone
    assert registry["calls of MLflow"] >= registry["calls of helpers"] / 2
    assert counts.loc["all", "lines, median"] <= 5
    assert counts["lines, most"].max() <= 20
    assert counts["widest line"].max() <= 88
    assert counts["words a text"].between(40, 65).all()


def test_pictures_of_the_pages_are_shown_with_words_and_captions_and_their_mlflow_is_named_once():
    locked = re.search(r"^mlflow==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1]
    pictures = {path.stem: path for path in (NOTEBOOKS / "images").glob("*.png")}
    shown = []
    for path in PATHS:
        text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
        names = re.findall(r"!\[.{40,}\]\(images/(\w+)\.png\)\n\n\*(?:In code: |Every line)", text)
        assert re.findall(r"pictures show MLflow (\d+\.\d+\.\d+)", text) == [locked] * bool(names)
        assert text.count(locked) == bool(names)
        shown += names
    assert sorted([*shown, outputs.PICTURE_OF_README.stem]) == sorted(pictures)
    del pictures[outputs.PICTURE_OF_README.stem]
    assert {plt.imread(path).shape[:2] for path in pictures.values()} == {(600, 1040)}
    assert max(path.stat().st_size for path in pictures.values()) < 150_000


def test_run_trial_leaves_what_the_cells_of_notebook_01_leave(chain):
    """Of the first two versions of the small network the cells made one, run_trial the other."""
    use_store(str(chain[0].parent / "store"))
    client = mlflow.MlflowClient()
    by_cells, by_helper = (traces(client, client.get_model_version(CANDIDATES[0], number)) for number in "12")
    assert set(by_helper["run's tags"]) - set(by_cells["run's tags"]) == {"owner", "heartbeat"}  # of the claim
    for left in (by_cells, by_helper):
        left["run's tags"] -= {"owner", "heartbeat", "mlflow.source.name", "mlflow.source.type"}
    assert by_cells == by_helper


def traces(client: mlflow.MlflowClient, version: ModelVersion) -> dict[str, object]:
    """What is kept of a version when it is registered, but for the values that differ from trial to trial."""
    run, model = client.get_run(version.run_id), client.get_logged_model(version.source.removeprefix("models:/"))
    folder = Path(mlflow.artifacts.download_artifacts(version.source))
    dataset = run.inputs.dataset_inputs[0]
    return {
        "version's tags": at_first(version.tags),
        "run's tags": set(run.data.tags),
        "run's name": re.sub(r"[\d.]+", "", run.info.run_name),
        "parameters": set(run.data.params),
        "metrics": at_first(run.data.metrics),
        "model's metrics": at_first(metric.key for metric in model.metrics),
        "model's parameters": set(model.params),
        "artifacts": at_first(file.path for file in client.list_artifacts(version.run_id)),
        "files": {path.relative_to(folder).as_posix() for path in folder.rglob("*")},
        "signature": mlflow.models.get_model_info(version.source).signature,
        "dataset": (dataset.dataset.digest, dataset.dataset.schema, [(tag.key, tag.value) for tag in dataset.tags]),
        "requirements": (folder / "requirements.txt").read_text(),
        "outputs": len(run.outputs.model_outputs),
    }


def at_first(names: Iterable[str]) -> set[str]:
    """Without what notebook 05 adds to a finalist."""
    return {name for name in names if not name.startswith("forward_")}


def test_selecting_needs_no_network(chain):
    folder, _ = chain
    source = "\n".join(cell.source for cell in code_cells(folder / "03_select_the_best.ipynb"))
    check = "\nimport sys\nassert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", source + check], cwd=NOTEBOOKS, check=True, capture_output=True)
