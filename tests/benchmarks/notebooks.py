"""The notebooks' seconds, and how many of them their imports take."""

import ast
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pandas as pd

from helpers.tools.execute import execute_notebooks
from tests.benchmarks.common import show

START = "start_keras()"
IMPORTS = "import time; start = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"


def notebooks() -> None:
    """Every notebook in order on an empty store, then its imports alone in a fresh process."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        execute_notebooks(Path(folder) / "output", {"STORE": f"{folder}/store"})
        table = pd.DataFrame([_row(path) for path in sorted(Path(folder, "output").glob("*.ipynb"))])
    table.loc[len(table)] = ["all", *table[["seconds", "imports"]].sum()]
    table["imports/seconds"] = table["imports"] / table["seconds"]
    show("notebooks: seconds as papermill notes them, with the kernel's start", table)


def _row(path: Path) -> dict[str, object]:
    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    statements = [statement for source in sources for statement in ast.parse(source).body]
    lines = [ast.unparse(statement) for statement in statements if isinstance(statement, ast.Import | ast.ImportFrom)]
    lines += [START] * any(START in source for source in sources)
    code = [sys.executable, "-c", IMPORTS.format("\n".join(lines))]
    imports = float(subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return {"notebook": path.stem, "seconds": notebook.metadata.papermill.duration, "imports": imports}
