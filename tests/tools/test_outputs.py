"""The stamp of committed outputs follows the cells and what they reach, and nothing else."""

import shutil

import nbformat
import pytest

from helpers import NOTEBOOKS
from helpers.tools import outputs

ONE = "from helpers.stores.store import use_store\nfrom helpers import plots"


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of the house, to change files in."""
    shutil.copytree(NOTEBOOKS.parent / "helpers", tmp_path / "helpers")
    monkeypatch.setattr(outputs, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path / "helpers"


def stamp(code: str, prose: str = "") -> str:
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell(code)]
    return outputs.stamp(nbformat.v4.new_notebook(cells=cells))


def reached(code: str) -> set[str]:
    return {path.name for path in outputs.reached(code)}


def test_what_is_reached_is_what_is_imported_and_what_that_imports(house):
    stores = {"place.py", "folder.py", "experiments.py", "server.py", "store.py", "surroundings.py", "trials.py"}
    assert reached(ONE) == {*stores, "child.py", "plots.py", "games.py", "__init__.py"}
    assert reached("import pandas\nimport mlflow") == set()


def test_an_import_inside_a_function_and_a_table_of_numbers_count(house):
    assert "tables.py" in reached("def later():\n    from helpers import tables")
    assert {"sources.py", "simulate.py", "league.json"} <= reached("from helpers.sources import load_games")


@pytest.mark.parametrize("name", ["plots.py", "games.py", "stores/folder.py", "stores/__init__.py"])
def test_a_comment_in_a_module_that_is_reached_makes_the_outputs_stale(house, name):
    before = stamp(ONE)
    with (house / name).open("a") as file:
        file.write("# another word\n")
    assert stamp(ONE) != before


@pytest.mark.parametrize("name", ["tables.py", "sweep.py", "models/keras.py", "tools/book.py"])
def test_a_comment_in_another_module_does_not(house, name):
    before = stamp(ONE)
    with (house / name).open("a") as file:
        file.write("# another word\n")
    assert stamp(ONE) == before


def test_a_word_of_prose_or_code_does(house):
    assert len({stamp(ONE), stamp(ONE, "a word"), stamp(f"{ONE}\n1")}) == 3


def test_the_readme_is_told_how_long_a_notebook_takes_to_read(tmp_path, monkeypatch):
    row = "| [05](notebooks/05_x.ipynb) | words | 99 |\n"
    monkeypatch.setattr(outputs, "README", tmp_path / "README.md")
    outputs.README.write_text("| 7 |\n" + row + row.replace("05_x", "06_y"))
    cells = [nbformat.v4.new_markdown_cell("word " * 800), nbformat.v4.new_code_cell("1\n" * 19 + "1")]
    minutes = outputs.reading_minutes(nbformat.v4.new_notebook(cells=cells))
    outputs._tell_minutes("05_x.ipynb", minutes)
    assert minutes == 5
    assert outputs.README.read_text() == "| 7 |\n" + row.replace("99", "5") + row.replace("05_x", "06_y")
