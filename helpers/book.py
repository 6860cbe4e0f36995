"""The book: the README and the executed notebooks as pages for a browser, which need no server; by `make book`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.application import Sphinx

from helpers.store import NOTEBOOKS

CONTENTS = """
```{toctree}
:hidden:
:glob:

notebooks/*
```
"""
LET_LONG_CODE_WRAP = "code.literal { overflow-wrap: anywhere } code.literal .pre { white-space: normal }"
SETTINGS = {
    "project": "March Madness, registered",
    "html_title": "March Madness, registered",
    "extensions": ["myst_nb"],
    "nb_execution_mode": "off",  # the outputs are those of make notebooks
    "html_theme": "sphinx_book_theme",
    "html_theme_options": {
        "home_page_in_toc": True,
        "use_download_button": False,
        "use_fullscreen_button": False,
        "footer_content_items": [],
    },
    "html_context": {"default_mode": "auto"},  # dark where the reader's system is
    "html_copy_source": False,
    "html_show_search_summary": False,  # a browser would not read it from a file
    "html_static_path": ["_static"],
    "html_css_files": ["phone.css"],
}


def write_book(folder: Path) -> None:
    """Write the book into a folder; its first page is index.html. Raises SphinxWarning where Sphinx would warn."""
    with TemporaryDirectory() as place:
        source = Path(place) / "source"
        shutil.copytree(NOTEBOOKS, source / "notebooks", ignore=shutil.ignore_patterns(".*"))
        readme = (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
        (source / "index.md").write_text(readme + CONTENTS, encoding="utf-8")
        (source / "_static").mkdir()
        (source / "_static" / "phone.css").write_text(LET_LONG_CODE_WRAP, encoding="utf-8")
        book = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=folder,
            doctreedir=Path(place) / "doctrees",
            buildername="html",
            confoverrides=SETTINGS,
            status=None,
            warning=sys.stderr,
            exception_on_warning=True,
        )
        book.build(force_all=True)


if __name__ == "__main__":
    write_book(NOTEBOOKS.parent / "build" / "book")
