"""The menus of notebook 04 in a real JupyterLab: what is chosen in the browser is what the champion answers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from helpers import NOTEBOOKS
from helpers.child import free_ports
from helpers.tools import execute
from tests.test_notebooks import SMALL

# All cells of a notebook are in the page, not only those in view; no news and no questions.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def folder(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notebook 04 beside a store that 01 to 03 filled; the browser comes first, as without one the work is in vain."""
    folder = tmp_path_factory.mktemp("lab")
    given = {**SMALL, "STORE": str(folder / "store")}
    for path in sorted(NOTEBOOKS.glob("0[1-3]*.ipynb")):
        execute.execute_notebook(path, folder / "done" / path.name, given)
    (path,) = NOTEBOOKS.glob("04*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # what is seen is what this kernel showed
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
    nbformat.write(notebook, folder / path.name)
    for name, setting in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    """JupyterLab's address; stopped with its kernels by its own process group."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    quiet = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=quiet, stdout=log, stderr=log, start_new_session=True)
        try:
            while not _answers(f"http://127.0.0.1:{port}/api"):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except (URLError, OSError):
        return False


def _has_an_idle_kernel(url: str) -> bool:
    sessions = json.load(urllib.request.urlopen(f"{url}/api/sessions"))
    states = [(session["kernel"]["execution_state"], session["kernel"]["connections"]) for session in sessions]
    return states == [("idle", 1)]


@pytest.fixture(scope="module")
def page(browser: Browser, lab: str) -> Iterator[Page]:
    """Notebook 04 in JupyterLab, after Run All Cells."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/04_load_and_predict.ipynb?reset")
    while not _has_an_idle_kernel(lab):  # or JupyterLab would ask which one to run the cells with
        page.wait_for_timeout(500)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator("caption", has_text="last season").wait_for(state="attached", timeout=300_000)
    yield page
    page.close()


def cell_with(page: Page, words: str) -> Locator:
    return page.locator(".jp-CodeCell", has=page.locator(".jp-InputArea", has_text=words))


def test_the_menus_of_two_teams_ask_the_champion_about_them(page: Page):
    cell = cell_with(page, "explore.choose(duel")
    caption, menus = cell.locator("caption"), cell.locator("select")
    expect(menus).to_have_count(2)
    before = caption.inner_text()
    picture = cell.locator("img").get_attribute("src")
    label = menus.nth(0).locator("option").nth(5).inner_text().replace("\N{NO-BREAK SPACE}", " ")  # ipywidgets' spaces
    _, _, team = label.partition(" · ")
    menus.nth(0).select_option(index=5)
    expect(caption).to_have_text(re.compile(rf"^Chance that {re.escape(team)} wins: \d+%$"))
    assert team
    assert caption.inner_text() != before
    expect(cell.locator("img")).not_to_have_attribute("src", picture)


def test_two_teams_that_cannot_meet_are_refused_with_a_sentence(page: Page):
    cell = cell_with(page, "explore.choose(duel")
    menus = cell.locator("select")
    menus.nth(1).select_option(label=menus.nth(0).locator("option:checked").inner_text())
    expect(cell.get_by_text("Choose two different teams of one league.")).to_be_visible()
    expect(cell.locator("img")).to_have_count(0)


def test_the_other_leagues_bracket_takes_the_place_of_the_first(page: Page):
    cell = cell_with(page, "explore.choose(whole")
    before = cell.locator("img").get_attribute("src")
    cell.locator("select").select_option(label="women")
    expect(cell.locator("img")).to_have_count(1)
    expect(cell.locator("img")).not_to_have_attribute("src", before)
