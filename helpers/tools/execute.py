"""Execute the notebooks in order with papermill: what `make run` does, and the tests with smaller values."""

import ast
import errno
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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
    known = {name for path in paths for name in papermill.inspect_notebook(str(path))}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(f"No notebook has a parameter {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    check_parameters(**{name: value for name, value in parameters.items() if name in RULES})
    with writing(output):
        shutil.copytree(NOTEBOOKS / "images", output / "images", dirs_exist_ok=True)  # for the pages that show them
    execute_some(paths, output, parameters)


def execute_some(paths: Iterable[Path], output: Path, parameters: dict[str, object]) -> None:
    """Execute some notebooks one after the other into the folder output, and print each one's name and time.

    Each gets those parameters that it declares. Raises RuntimeError as execute_notebook does.
    """
    for path in paths:
        start, declared = time.perf_counter(), papermill.inspect_notebook(str(path))
        given = {name: value for name, value in parameters.items() if name in declared}
        print(f"{path.stem:<24}", end="", flush=True)
        execute_notebook(path, output / path.name, given)
        print(f"{time.perf_counter() - start:6.1f} s", flush=True)


def execute_notebook(path: Path, output: Path, parameters: dict[str, object]) -> None:
    """Execute one notebook into the file output.

    Raises RuntimeError with notebook and cell for a cell that fails, takes too long, or takes its kernel down, and
    with the folder where output cannot be written.
    """
    with writing(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            TemporaryDirectory() as nobodys,
            environment({**KERNEL, "IPYTHONDIR": nobodys}),
            _interrupting_cells_alone() as hooks,
        ):
            papermill.execute_notebook(
                path,
                output,
                parameters,
                cwd=path.parent,
                progress_bar=False,
                execution_timeout=CELL_SECONDS,
                extra_arguments=["--log-level=ERROR"],  # the kernel would warn of TCP on the loopback at every start
                **hooks,
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


@contextmanager
def _interrupting_cells_alone() -> Iterator[dict[str, object]]:
    """Let an interruption reach the cell under way and nothing else; gives arguments of papermill's.

    Python raises Ctrl-C wherever papermill stands, and asyncio raises it again in all that waits there, in the middle
    of the kernel's end, which then lives on. So it goes to the cell, which closes what it has open, and a second one
    kills its kernel; once that has ended it is raised here. And jupyter_client begins every shutdown with a SIGINT,
    which may meet the end of the kernel's last reply and is then reported as an error: no cell, no interruption.
    """
    under_way: set[int] = set()
    managers: list[AsyncKernelManager] = []
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    class Manager(AsyncKernelManager):
        def __init__(self, **given: object) -> None:
            super().__init__(**given)
            managers.append(self)

        async def _async_interrupt_kernel(self) -> None:
            if under_way:
                await super()._async_interrupt_kernel()

    def interrupt(*_: object) -> None:
        sent = signal.SIGKILL if interrupted.is_set() else signal.SIGINT  # it does not heed the first
        interrupted.set()
        if under_way:
            with suppress(ProcessLookupError):  # a kernel that died is reported as such
                os.killpg(managers[-1].provisioner.pgid, sent)

    def begin(cell: nbformat.NotebookNode, cell_index: int) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        under_way.add(cell_index)

    if callable(before):  # or Ctrl-C is ignored, as where a shell runs this in the background
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield {
            "kernel_manager_class": Manager,
            "on_cell_execute": begin,
            # Not called where a cell takes too long: that one stays under way.
            "on_cell_executed": lambda cell, cell_index, execute_reply: under_way.discard(cell_index),
        }
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupted.is_set():
            raise KeyboardInterrupt


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
