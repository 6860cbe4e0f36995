"""The outputs that the repository shows: written by `make notebooks` alone, and stamped with what made them."""

import base64
import hashlib
import io
import re
import sys
from modulefinder import ModuleFinder
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from helpers import NOTEBOOKS
from helpers.tools.execute import execute_notebooks, writing

README = NOTEBOOKS.parent / "README.md"
PICTURE_OF_README = NOTEBOOKS / "images" / "chances.png"
_LIVE = "application/vnd.jupyter.widget-view+json"  # a progress bar: dead without the kernel that drew it


def write_outputs() -> None:
    """Execute all notebooks with a reader's values on an empty store, and keep their outputs in notebooks/.

    The README is told how long each takes to read.
    """
    with TemporaryDirectory() as folder:
        execute_notebooks(Path(folder) / "outputs", {"STORE": str(Path(folder) / "store")})
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            executed = nbformat.read(Path(folder) / "outputs" / path.name, as_version=4)
            _copy_outputs(executed, notebook)
            notebook.metadata["stamp"] = stamp(notebook)
            nbformat.write(notebook, path)
            _tell_minutes(path.name, reading_minutes(notebook))
            for cell in notebook.cells:
                if "plots.stage_chances(" in cell.source:
                    PICTURE_OF_README.write_bytes(_last_picture(cell))


def reading_minutes(notebook: NotebookNode) -> int:
    """How long a notebook takes to read, at 200 words a minute and three seconds a line of code."""
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    lines = sum(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code")
    return round(words / 200 + lines / 20)


def _tell_minutes(name: str, minutes: int) -> None:
    row = rf"(\]\(notebooks/{name}\).*\| )\d+( \|\n)"
    README.write_text(re.sub(row, rf"\g<1>{minutes}\g<2>", README.read_text(encoding="utf-8")), encoding="utf-8")


def stamp(notebook: NotebookNode) -> str:
    """Sixteen hexadecimal digits that change when a cell of the notebook does, or a file that it reaches."""
    digest = hashlib.sha256("\0".join(cell.source for cell in notebook.cells).encode())
    for path in reached("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def reached(code: str) -> list[Path]:
    """The files of helpers/ that code reaches by its imports and theirs, with the tables of numbers beside them."""
    finder = ModuleFinder([str(NOTEBOOKS.parent)])  # what is not here, MLflow say, is not found, and left out
    finder.load_module("__main__", io.BytesIO(code.encode()), "notebook", ("", "", 1))
    names = {module.__file__ for module in finder.modules.values()} - {"notebook", None}
    sources = {Path(name): Path(name).read_text(encoding="utf-8") for name in names}
    tables = {table for path in sources for table in path.parent.glob("*.json") if table.name in sources[path]}
    return sorted({*sources, *tables})


def _copy_outputs(executed: NotebookNode, notebook: NotebookNode) -> None:
    ran = {cell.id: cell for cell in executed.cells}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(cells, 1):  # counted anew: papermill's own cell, with the store, stays out
        cell.execution_count = count
        cell.outputs = [output for output in ran[cell.id].outputs if _LIVE not in output.get("data", {})]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def _last_picture(cell: NotebookNode) -> bytes:
    return base64.b64decode([output.data["image/png"] for output in cell.outputs if "image/png" in output.data][-1])


if __name__ == "__main__":
    try:
        with writing(NOTEBOOKS):
            write_outputs()
    except RuntimeError as error:
        sys.exit(f"\n{error}")
