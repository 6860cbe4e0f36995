"""The book: the README and the executed notebooks as pages for a browser, which need no server; by `make book`."""

import shutil
import sys
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from helpers import NOTEBOOKS
from helpers.tools.execute import writing

CONTENTS = """
```{toctree}
:hidden:
:glob:

notebooks/*
```
"""
LOOK = """
code.literal { overflow-wrap: break-word }
code.literal .pre { white-space: normal }
div.highlight pre { font-size: 0.8em; white-space: pre-wrap; overflow-wrap: anywhere }
table.dataframe { font-size: 0.85em }
table.dataframe :is(td, th) { text-align: right; padding: 0.25em 0.6em }
@media (max-width: 576px) {
    table, table.dataframe { font-size: 0.72em }
    table :is(td, th), table.dataframe :is(td, th) { padding: 0.2em }
}
@media (min-width: 992px) { .bd-header { display: none } } /* its only content, the search, is in the sidebar too */
"""
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
    "templates_path": [],
    "html_context": {"default_mode": "auto"},  # dark where the reader's system is
    "html_copy_source": False,
    "html_show_search_summary": False,  # a browser would not read it from a file
    "html_static_path": ["_static"],
    "html_css_files": ["look.css"],
}


def write_book(folder: Path) -> None:
    """Write the book into a folder, in the place of what is there; its first page is index.html.

    Raises SphinxWarning where Sphinx would warn.
    """
    shutil.rmtree(folder, ignore_errors=True)  # over an older book Sphinx writes other bytes
    with TemporaryDirectory() as place, docutils_namespace():
        source = Path(place) / "source"
        shutil.copytree(NOTEBOOKS, source / "notebooks", ignore=shutil.ignore_patterns(".*"))
        readme = (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
        (source / "index.md").write_text(readme + CONTENTS, encoding="utf-8")
        (source / "_static").mkdir()
        (source / "_static" / "look.css").write_text(LOOK, encoding="utf-8")
        book = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=folder,
            doctreedir=Path(place) / "doctrees",
            buildername="html",
            confoverrides=deepcopy(SETTINGS),  # the theme adds to its lists
            status=None,
            warning=sys.stderr,
            exception_on_warning=True,
        )
        book.build(force_all=True)


if __name__ == "__main__":
    try:
        with writing(NOTEBOOKS.parent / "build"):
            write_book(NOTEBOOKS.parent / "build" / "book")
    except RuntimeError as error:
        sys.exit(str(error))
