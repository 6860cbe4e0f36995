"""The book in a browser, without a server or a network: every page, link and picture, on a desk and on a phone."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from helpers import NOTEBOOKS
from helpers.tools import book as book_tool
from helpers.tools.book import write_book
from helpers.tools.reference import write_reference

PAGES = {"index.html", "helpers.html", *(f"notebooks/{path.stem}.html" for path in NOTEBOOKS.glob("*.ipynb"))}
widths = pytest.mark.parametrize("width", [1280, 390])


@pytest.fixture(scope="module")
def book(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("book")
    write_book(folder)
    return folder


def open_page(browser: Browser, width: int) -> tuple[Page, list[str]]:
    """A page, and what will go wrong on it: errors of the console and of scripts, and requests that leave the book."""
    page, wrong = browser.new_page(viewport={"width": width, "height": 800}), []
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
    return page, wrong


def test_a_second_book_in_the_same_place_has_the_same_bytes(tmp_path: Path):
    books = []
    for _ in range(2):
        write_book(tmp_path)
        books.append({path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
        (tmp_path / "left_over.html").touch()
    assert books[0] == books[1]


@widths
def test_every_link_and_picture_is_sound(browser: Browser, book: Path, width: int):
    page, wrong = open_page(browser, width)
    seen, waiting = set(), [book / "index.html"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        page.goto(path.as_uri())
        page.locator("img").evaluate_all("images => images.forEach(image => image.loading = 'eager')")
        page.wait_for_load_state("networkidle")
        broken = "images => images.filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
        assert page.locator("img").evaluate_all(broken) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the screen"
        links = page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")
        for link in {link for link in links if link.startswith("file:")}:
            place, _, anchor = link.removeprefix("file://").partition("#")
            assert Path(place).is_file(), f"{link} in {path}"
            assert not anchor or f'id="{anchor}"' in Path(place).read_text(), f"{link} in {path}"
            if place.endswith(".html") and Path(place) not in {*seen, *waiting}:
                waiting.append(Path(place))
    assert wrong == []
    assert {path.relative_to(book).as_posix() for path in seen} >= PAGES


@widths
def test_a_word_is_found(browser: Browser, book: Path, width: int):
    page, wrong = open_page(browser, width)
    page.goto(f"{(book / 'search.html').as_uri()}?q=bootstrap")
    expect(page.locator("#search-results li a").first).to_be_visible()
    found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any("03_select_the_best.html" in link for link in found)
    assert wrong == []


def test_next_and_previous_go_through_the_notebooks_in_order(browser: Browser, book: Path):
    page, _ = open_page(browser, 1280)
    page.goto((book / "index.html").as_uri())
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        before = page.url
        page.locator("a.right-next").click()
        expect(page).to_have_url(re.compile(f"{path.stem}.html$"))
        assert page.locator("a.left-prev").evaluate("link => link.href") == before
    page.locator("a.right-next").click()
    expect(page).to_have_url(re.compile("helpers.html$"))
    expect(page.locator("a.right-next")).to_have_count(0)


@widths
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(browser: Browser, book: Path, width: int, scheme: str):
    found = []
    still = {"color_scheme": scheme, "reduced_motion": "reduce"}  # axe would measure a colour on its way to another
    for name in sorted({*PAGES, "genindex.html", "search.html"}):
        page = browser.new_page(viewport={"width": width, "height": 800}, **still)
        page.goto((book / name).as_uri())
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.append((name, violation["id"], [node["html"] for node in violation["nodes"]]))
        page.close()
    assert found == []


def test_the_page_of_the_helpers_has_every_public_function_and_class():
    package, text = NOTEBOOKS.parent / "helpers", write_reference()
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        public = re.findall(r"^(?:def|class) ([a-z]\w+)", path.read_text(), re.MULTILINE | re.IGNORECASE)
        part = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        told = re.findall(r"^```python\n(?:class )?(\w+)(?=[(\n])", part, re.MULTILINE)
        assert told == (public if "tools" not in path.parts else []), name


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/someone/a-copy.git",
        "git@github.com:someone/a-copy.git",
        "ssh://git@github.com/someone/a-copy.git",
        "https://x@github.com/someone/a-copy",
    ],
)
def test_the_owner_of_a_copy_is_that_of_its_remote(monkeypatch, tmp_path, address):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setattr(book_tool, "NOTEBOOKS", tmp_path / "notebooks")
    assert book_tool.repository() == "someone/a-copy"


def test_a_copy_that_is_not_on_github_has_no_owner(monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setattr(book_tool, "NOTEBOOKS", tmp_path / "notebooks")
    assert book_tool.repository() is None
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", "."], check=True)
    for address in ["/a/copy", "a/copy", "https://gitlab.com/someone/a-copy.git", "git@gitlab.com:someone/a-copy.git"]:
        subprocess.run(["git", "-C", tmp_path, "remote", "set-url", "origin", address], check=True)
        assert book_tool.repository() is None, address


@pytest.mark.parametrize("owner", ["someone/a-copy", None])
def test_the_doors_of_a_notebook_lead_to_this_very_copy(monkeypatch, tmp_path, owner):
    monkeypatch.setenv("GITHUB_REPOSITORY", owner or "")
    monkeypatch.setattr(book_tool, "NOTEBOOKS", tmp_path / "notebooks")
    path = sorted(NOTEBOOKS.glob("*.ipynb"))[0]
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    book_tool._add_doors(copy)
    first = nbformat.read(copy, as_version=4).cells[0].source
    links = re.findall(r"\]\((https?://[^)]+)\)", first.replace("\n", " "))
    own = [link for link in links if "someone/a-copy" in link]
    assert len(links) - len(own) == 2  # JupyterLab and Fabric
    assert [path.name in link for link in own] == [True, True] * bool(owner)
    assert f"git+https://github.com/{owner}" in first or not owner


def test_dark_mode_darkens_the_page(browser: Browser, book: Path):
    page, _ = open_page(browser, 1280)
    page.emulate_media(color_scheme="dark")
    page.goto((book / "notebooks" / "02_sweep_several_models.html").as_uri())
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    (shade,) = re.findall(
        r"rgb\((\d+),", page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    )
    assert int(shade) < 60
