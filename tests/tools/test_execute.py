"""The runner takes parameters from a command line and names the notebook and the cell of every fault."""

import asyncio
import json
import re
import runpy
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from helpers.tools import execute
from tests.test_notebooks import code_cells


def test_a_parameter_that_no_notebook_knows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No notebook has a parameter EPOCH; there are ARTIFACTS, DATABASE, EPOCHS, "):
        execute.execute_notebooks(tmp_path, {"EPOCH": 1})
    assert list(tmp_path.iterdir()) == []


def one_notebook(folder: Path, monkeypatch, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ("EPOCHS = 1", *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / "images").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "00_probe.ipynb")
    monkeypatch.setattr(execute, "NOTEBOOKS", folder)


def test_a_kernel_starts_in_the_notebooks_folder_with_the_values_given(tmp_path, monkeypatch, capsys):
    one_notebook(tmp_path / "notebooks", monkeypatch, "from pathlib import Path; print(Path().resolve().name, EPOCHS)")
    execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 7})
    assert code_cells(tmp_path / "build" / "00_probe.ipynb")[-1].outputs[0].text == "notebooks 7\n"
    assert re.fullmatch(r"00_probe +\d+\.\d s\n", capsys.readouterr().out)


FAULTS = {
    "a cell that fails": ("1 + 1", "1 / 0", "ZeroDivisionError"),
    "a kernel that dies": ("1 + 1", "import os; os._exit(1)", "[Kk]ernel"),
    "a kernel that dies after a word": ("1 + 1", "import os; print(1, flush=True); os._exit(1)", "[Kk]ernel"),
    "a cell that takes too long": ("1 + 1", "import time; time.sleep(60)", "[Tt]ime"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_notebook_and_the_cell(tmp_path, monkeypatch, fault):
    *sources, reason = FAULTS[fault]
    one_notebook(tmp_path / "notebooks", monkeypatch, *sources, "2 + 2")
    monkeypatch.setattr(execute, "CELL_SECONDS", 5)
    with pytest.raises(RuntimeError, match=rf"(?s)00_probe\.ipynb, code cell 4 stopped: .*{reason}"):
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})


LATE = """import time
kernel = get_ipython().kernel
answer = kernel.shell_handlers["kernel_info_request"]  # papermill's last request to a kernel


async def answer_and_dawdle(*message):
    await answer(*message)
    time.sleep(0.3)


kernel.shell_handlers["kernel_info_request"] = answer_and_dawdle"""


@pytest.mark.parametrize("last", ["2 + 2", "1 / 0"])
def test_a_kernel_that_still_ends_its_last_reply_is_not_interrupted(tmp_path, monkeypatch, capfd, last):
    one_notebook(tmp_path / "notebooks", monkeypatch, LATE, last)
    with pytest.raises(RuntimeError, match="ZeroDivisionError") if "/" in last else nullcontext():
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})
    assert "KeyboardInterrupt" not in capfd.readouterr().err


def interrupted_notebook(folder: Path, monkeypatch, send: str) -> Path:
    """A notebook whose cell has something to close when it is interrupted; gives the file that then holds its id."""
    closed = folder / "closed"
    cell = f"""import os, pathlib, signal, time
try:
    {send}
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(4)  # longer than jupyter_client gives a kernel to end
    pathlib.Path({str(closed)!r}).write_text(str(os.getpid()))"""
    one_notebook(folder / "notebooks", monkeypatch, "1 + 1", cell, f"open({str(folder / 'after')!r}, 'w')")
    return closed


def test_ctrl_c_interrupts_the_cell_under_way_and_ends_its_kernel(tmp_path, monkeypatch):
    closed = interrupted_notebook(tmp_path, monkeypatch, "os.kill(os.getppid(), signal.SIGINT)")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})
    assert not psutil.pid_exists(int(closed.read_text()))
    assert not (tmp_path / "after").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_that_meets_papermill_at_work_does_the_same(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    closed = interrupted_notebook(tmp_path, monkeypatch, f"pathlib.Path({str(begun)!r}).touch()")
    poll = NotebookClient._async_poll_for_reply

    async def met_at_work(*given):
        while not begun.exists() and len(given[2].source) > 100:
            await asyncio.sleep(0.1)
        if begun.exists() and not closed.exists():
            signal.raise_signal(signal.SIGINT)
        return await poll(*given)

    monkeypatch.setattr(NotebookClient, "_async_poll_for_reply", met_at_work)
    with pytest.raises(KeyboardInterrupt):
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})
    assert not psutil.pid_exists(int(closed.read_text()))
    assert not (tmp_path / "after").exists()


def test_a_second_ctrl_c_ends_a_cell_that_does_not_heed_the_first(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    cell = f"""import os, pathlib, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))
for _ in range(2):
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(1)
time.sleep(60)"""
    one_notebook(tmp_path / "notebooks", monkeypatch, cell)
    with pytest.raises(KeyboardInterrupt):
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})
    assert not psutil.pid_exists(int(begun.read_text()))


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    one_notebook(tmp_path / "notebooks", monkeypatch, "1 + 1")
    (tmp_path / "build").write_text("a file")
    with pytest.raises(
        RuntimeError, match=rf"^The folder {tmp_path / 'build'} cannot be written \([^\n]*\); make room"
    ):
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})


def test_an_output_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    one_notebook(tmp_path / "notebooks", monkeypatch, "1 + 1")
    (tmp_path / "build" / "00_probe.ipynb").mkdir(parents=True)
    with pytest.raises(
        RuntimeError, match=rf"^The folder {tmp_path / 'build'} cannot be written \(Is a directory\); make"
    ):
        execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})


def test_the_book_says_so_too(tmp_path, monkeypatch):
    (tmp_path / "build").write_text("a file")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("# A book")
    monkeypatch.setattr("helpers.NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.delitem(sys.modules, "helpers.tools.book", raising=False)  # which another test may have imported
    with pytest.raises(SystemExit, match=r"^The folder .*build cannot be written \([^\n]*\); make room"):
        runpy.run_module("helpers.tools.book", run_name="__main__")


SURROUNDINGS = """import os, sys, warnings
import matplotlib.pyplot as plt
plt.plot([1, 2])
print(sys.executable, "made_by_a_start_up_file" in globals())
warnings.warn("a warning")
1 + 1"""


def test_no_setting_of_a_pipeline_or_a_person_changes_what_a_notebook_shows(tmp_path, monkeypatch):
    """Each of these was seen to: MPLBACKEND and a foreign kernel in CIs, IPython's profile, strict warnings."""
    one_notebook(tmp_path / "notebooks", monkeypatch, SURROUNDINGS)
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "00.py").write_text("made_by_a_start_up_file = True")
    (profile / "ipython_config.py").write_text("get_config().InteractiveShell.ast_node_interactivity = 'none'")
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python"], "display_name": "another", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    (tmp_path / "startup.py").write_text("made_by_a_start_up_file = True")
    for name, value in {
        "MPLBACKEND": "agg",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONWARNINGS": "error",
    }.items():
        monkeypatch.setenv(name, value)
    execute.execute_notebooks(tmp_path / "build", {"EPOCHS": 1})
    shown = code_cells(tmp_path / "build" / "00_probe.ipynb")[-1].outputs
    assert f"{sys.executable} False\n" in [output.get("text") for output in shown]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"image/png", "text/plain"} <= kinds
    assert "2" in [output.get("data", {}).get("text/plain") for output in shown]


def test_folders_are_taken_from_where_make_runs_and_names_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = execute.read_parameters(["SOURCE=my/games", "STORE=../store", "EPOCHS=5", "LEARNING_RATES=[0.1, 0.2]"])
    assert values["SOURCE"] == str(tmp_path / "my" / "games")
    assert values["STORE"] == str(tmp_path.parent / "store")
    assert (values["EPOCHS"], values["LEARNING_RATES"]) == (5, [0.1, 0.2])
    same = ["SOURCE=simulated", "SOURCE=kaggle", "STORE=http://127.0.0.1:5000", "STORE=sqlite:///a.db"]
    assert [execute.read_parameters([text]) for text in same] == [dict([text.split("=", 1)]) for text in same]


def test_a_word_without_a_value_is_refused():
    with pytest.raises(ValueError, match="'EPOCHS' is not NAME=value"):
        execute.read_parameters(["EPOCHS"])
