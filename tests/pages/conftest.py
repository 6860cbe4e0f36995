"""A store that notebooks 01 to 03 filled, MLflow's pages on it, and a browser that takes pictures of them."""

import getpass
import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from helpers import NOTEBOOKS
from helpers.stores.store import use_store
from helpers.tools import execute
from tests.support.server import running_server

SIZE = {"width": 1040, "height": 600}
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SWITCHES += ["--disable-sync", "--no-first-run"]
# What is different each time: dates, ages, durations, ids, users, and the colours, which MLflow makes from the ids.
CHANGES = r"\d+/\d+/\d{4}, \d+:\d\d:\d\d [AP]M|\b(\d+|a few|an?) \w+ ago|\b(m-)?[0-9a-f]{32}\b|^\d+(\.\d+)?(ms|s|min)$"
HIDE_TEXTS = """(pattern) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text; text = texts.nextNode();) text.nodeValue = text.nodeValue.replace(RegExp(pattern, "g"), "…");
}"""
HIDE_COLOURS = "label[style*=background] { background: #BBB !important } [data-assistant-ui] { display: none }"
MARK = """(box) => {
    const ring = document.createElement("div");
    ring.id = "mark";
    ring.style = `position: fixed; z-index: 99999; border: 3px solid #D55E00; border-radius: 6px;
        left: ${box.x - 6}px; top: ${box.y - 6}px; width: ${box.width + 12}px; height: ${box.height + 12}px`;
    document.body.append(ring);
}"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, or the browser that CHROME_BIN names."""
    path = os.environ.get("CHROME_BIN") or shutil.which("chromium")
    if path is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("There is no browser: apt-get update && apt-get install -y chromium, or name one by CHROME_BIN.")
    expect.set_options(timeout=30_000)  # as long as every other step may take on a machine that is busy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def filled_store(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has after notebook 03, in use; the browser comes first, for without one the work is in vain."""
    folder = tmp_path_factory.mktemp("filled")
    for path in sorted(NOTEBOOKS.glob("0[1-3]*.ipynb")):
        execute.execute_notebook(path, folder / path.name, {"STORE": str(folder / "store")})
    use_store(str(folder / "store"))
    return folder / "store"


@pytest.fixture(scope="module")
def page(browser: Browser, filled_store: Path) -> Iterator[Page]:
    """MLflow's pages as a reader sees them once the welcome and the assistant are closed and training is chosen."""
    with running_server(filled_store) as server:
        page = browser.new_page(base_url=server.url, viewport=SIZE, locale="en-US", reduced_motion="reduce")
        page.goto("/#/models")
        page.get_by_role("button", name="Try it now").click()
        page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
        page.get_by_text("Model training").click()
        yield page
        page.close()


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: to the folder of --pictures, or nowhere that matters."""
    return Path(request.config.getoption("pictures") or tmp_path_factory.mktemp("pictures"))


def take(page: Page, target: Locator, path: Path) -> None:
    """A picture of the page at rest with a ring round the target, and without what differs from time to time.

    A picture that is there already and looks the same stays.
    """
    target.hover()
    page.evaluate(MARK, target.bounding_box())
    looks = [_hide_and_look(page)]
    while len(looks) < 10 and looks[-2:-1] != looks[-1:]:
        page.wait_for_timeout(500)
        looks.append(_hide_and_look(page))
    page.evaluate("document.getElementById('mark').remove()")
    assert len(looks[-1]) < 150_000
    if not (path.exists() and _looks_like(looks[-1], path)):
        path.write_bytes(looks[-1])


def _looks_like(look: bytes, path: Path) -> bool:
    """Whether two pictures differ by no more than the browser's shading of edges, which is not the same each time."""
    one, other = plt.imread(BytesIO(look)), plt.imread(path)
    return one.shape == other.shape and abs(one - other).max() < 0.2


def _hide_and_look(page: Page) -> bytes:
    page.evaluate(HIDE_TEXTS, f"{CHANGES}|^{getpass.getuser()}$")
    return page.screenshot(style=HIDE_COLOURS, animations="disabled")
