"""Execute the notebooks in order with papermill: what `make run` does, and the tests with smaller values."""

from __future__ import annotations

import ast
import shutil
import sys
import time
from pathlib import Path

import nbformat
import papermill

from helpers.store import NOTEBOOKS

CELL_SECONDS = 900


def run_notebooks(output: Path, parameters: dict[str, object]) -> None:
    """Execute every notebook in notebooks/, in order, into the folder output, and print each one's name and time.

    The pictures they show come along. Each notebook gets those parameters that it declares. Raises ValueError for a
    name that none declares, and RuntimeError as run_notebook does.
    """
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    declared = {path: papermill.inspect_notebook(str(path)) for path in paths}
    known = {name for names in declared.values() for name in names}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(f"No notebook has a parameter {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    shutil.copytree(NOTEBOOKS / "images", output / "images", dirs_exist_ok=True)  # for the pages that show them
    for path in paths:
        start = time.perf_counter()
        given = {name: value for name, value in parameters.items() if name in declared[path]}
        print(f"{path.stem:<24}", end="", flush=True)
        run_notebook(path, output / path.name, given)
        print(f"{time.perf_counter() - start:6.1f} s", flush=True)


def run_notebook(path: Path, output: Path, parameters: dict[str, object]) -> None:
    """Execute one notebook into the file output.

    Raises RuntimeError with notebook and cell for a cell that fails, takes too long, or takes its kernel down.
    """
    try:
        papermill.execute_notebook(
            path,
            output,
            parameters,
            cwd=path.parent,
            progress_bar=False,
            execution_timeout=CELL_SECONDS,
            extra_arguments=["--log-level=ERROR"],  # the kernel would warn of TCP on the loopback at every start
        )
    except Exception as error:  # a failed cell, a dead kernel and a timeout share no class
        where = f"{path.name}, code cell {_last_started(output)}"
        raise RuntimeError(f"{where} stopped: {str(error).strip()}\nWhat ran is in {output}.") from error


def _last_started(output: Path) -> int:
    # papermill marks every cell of a dead kernel "completed", so it is the start that tells how far a notebook came.
    cells = [cell for cell in nbformat.read(output, as_version=4).cells if cell.cell_type == "code"]
    return max(i for i, cell in enumerate(cells) if i == 0 or cell.metadata.papermill.start_time) + 1


def read_parameters(arguments: list[str]) -> dict[str, object]:
    """Parameters from arguments like EPOCHS=5; the folders in SOURCE and STORE are taken from the working directory."""
    parameters = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument!r} is not NAME=value, as in EPOCHS=5.")
        parameters[name] = _value(name, text)
    return parameters


def _value(name: str, text: str) -> object:
    if name in ("SOURCE", "STORE"):
        named = text in ("simulated", "kaggle", "databricks") or "://" in text
        return text if named else str(Path(text).resolve())
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


if __name__ == "__main__":
    try:
        run_notebooks(NOTEBOOKS.parent / "build", read_parameters(sys.argv[1:]))
    except (RuntimeError, ValueError) as error:
        sys.exit(f"\n{error}")
