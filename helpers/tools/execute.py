"""Execute the notebooks in order with papermill: what `make run` does, and the tests with smaller values."""

import ast
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from jupyter_client import AsyncKernelManager

from helpers import NOTEBOOKS
from helpers.parameters import RULES, check_parameters
from helpers.stores.place import from_command_line
from helpers.surroundings import environment

CELL_SECONDS = 900
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
UNWRITABLE |= {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}  # a file in a folder's place, or the reverse
# A pipeline's backend would leave the pictures out, a kernel named python3 may belong to another environment, strict
# warnings stop MLflow itself, and a user's start-up files and IPython settings have left out what a cell shows.
KERNEL = {"MPLBACKEND": None, "JUPYTER_PATH": None, "JUPYTER_PREFER_ENV_PATH": "1"}
KERNEL |= {"PYTHONWARNINGS": None, "PYTHONSTARTUP": None}


def execute_notebooks(output: Path, parameters: dict[str, object]) -> None:
    """Execute every notebook in notebooks/, in order, into the folder output, and print each one's name and time.

    The pictures they show come along. Each notebook gets those parameters that it declares. Raises ValueError for a
    name that none declares or a value that cannot be, and RuntimeError as execute_notebook does, or where output cannot
    be written.
    """
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    declared = {path: papermill.inspect_notebook(str(path)) for path in paths}
    known = {name for names in declared.values() for name in names}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(f"No notebook has a parameter {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    check_parameters(**{name: value for name, value in parameters.items() if name in RULES})
    with writing(output):
        shutil.copytree(NOTEBOOKS / "images", output / "images", dirs_exist_ok=True)  # for the pages that show them
    for path in paths:
        start = time.perf_counter()
        given = {name: value for name, value in parameters.items() if name in declared[path]}
        print(f"{path.stem:<24}", end="", flush=True)
        execute_notebook(path, output / path.name, given)
        print(f"{time.perf_counter() - start:6.1f} s", flush=True)


def execute_notebook(path: Path, output: Path, parameters: dict[str, object]) -> None:
    """Execute one notebook into the file output.

    Raises RuntimeError with notebook and cell for a cell that fails, takes too long, or takes its kernel down, and
    with the folder where output cannot be written.
    """
    try:
        with TemporaryDirectory() as nobodys, environment({**KERNEL, "IPYTHONDIR": nobodys}):
            papermill.execute_notebook(
                path,
                output,
                parameters,
                cwd=path.parent,
                progress_bar=False,
                execution_timeout=CELL_SECONDS,
                extra_arguments=["--log-level=ERROR"],  # the kernel would warn of TCP on the loopback at every start
                **_interrupt_cells_alone(),
            )
    except Exception as error:  # a failed cell, a dead kernel and a timeout share no class
        if getattr(error, "errno", None) in UNWRITABLE:
            with writing(output.parent):
                raise
        where = f"{path.name}, code cell {_last_started(output)}"
        raise RuntimeError(f"{where} stopped: {str(error).strip()}\nWhat ran is in {output}.") from error


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk inside into a RuntimeError with one sentence that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE and not isinstance(error, shutil.Error):
            raise
        why = error.strerror or error.args[0][0][-1]  # copytree gives a list, of each file with its reason
        raise RuntimeError(f"The folder {folder} cannot be written ({why}); make room or give the right to.") from error


def _interrupt_cells_alone() -> dict[str, object]:
    """What keeps jupyter_client from interrupting a kernel that runs no cell, as arguments of papermill's.

    It begins every shutdown with a SIGINT, which may meet the end of the kernel's last reply and is then reported as
    an error. A cell under way needs it, to close what it has open.
    """
    under_way: set[int] = set()

    class Manager(AsyncKernelManager):
        async def _async_interrupt_kernel(self) -> None:
            if under_way:
                await super()._async_interrupt_kernel()

    return {
        "kernel_manager_class": Manager,
        "on_cell_execute": lambda cell, cell_index: under_way.add(cell_index),
        # Not called where papermill is interrupted, or a cell takes too long: that cell stays under way.
        "on_cell_executed": lambda cell, cell_index, execute_reply: under_way.discard(cell_index),
    }


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
    if name == "STORE":
        return text and from_command_line(text)
    if name == "SOURCE":
        return text if text in ("", "simulated", "kaggle") else str(Path(text).resolve())
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


if __name__ == "__main__":
    chosen = [f"STORE={os.environ['STORE']}"] if os.environ.get("STORE") else []  # as every target of make takes it
    try:
        execute_notebooks(NOTEBOOKS.parent / "build", read_parameters([*chosen, *sys.argv[1:]]))
    except (RuntimeError, ValueError) as error:
        sys.exit(f"\n{error}")
