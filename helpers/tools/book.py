"""The book: the README and the executed notebooks as pages for a browser, which need no server; by `make book`."""

import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from helpers import NOTEBOOKS
from helpers.tools.execute import writing
from helpers.tools.reference import write_reference

CONTENTS = """
```{toctree}
:hidden:
:glob:

notebooks/*
helpers
```
"""
DOORS = "Open this notebook in [JupyterLab](http://127.0.0.1:8888/lab/tree/{file}), once `make lab` runs"
NO_OWNER = ", or [import it into Fabric](https://learn.microsoft.com/fabric/data-engineering/how-to-use-notebook)."
OWNER = """, in [Colab](https://colab.research.google.com/github/{owner}/blob/main/notebooks/{file}), on
[Binder](https://mybinder.org/v2/gh/{owner}/HEAD?labpath=notebooks/{file}), or [import it into
Fabric](https://learn.microsoft.com/fabric/data-engineering/how-to-use-notebook). In Colab and Fabric, run
`%pip install git+https://github.com/{owner}` first: a notebook alone comes without our helpers."""
LOOK = """
pre.docstring { font: inherit; border: 0; background: none; padding: 0; white-space: pre-wrap }
h2 { overflow-wrap: anywhere }
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


def repository() -> str | None:
    """The owner and name of this copy on GitHub, as its runners or the remote origin say; None for a copy elsewhere."""
    named = os.environ.get("GITHUB_REPOSITORY")
    if named or not shutil.which("git"):
        return named or None
    asked = ["git", "-C", str(NOTEBOOKS.parent), "remote", "get-url", "origin"]
    address = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    host = r"(?:https://(?:[^/@]+@)?|ssh://git@|git@)github\.com[:/]"
    found = re.fullmatch(host + r"([\w-]+/[\w.-]+?)(?:\.git)?/?", address)
    return found and found[1]


def _add_doors(path: Path) -> None:
    """Say under a notebook's title where else it can be opened."""
    notebook, owner = nbformat.read(path, as_version=4), repository()
    doors = (DOORS + (OWNER if owner else NO_OWNER)).format(file=path.name, owner=owner)
    title, rest = notebook.cells[0].source.split("\n", 1)
    notebook.cells[0].source = f"{title}\n\n{doors}\n{rest}"
    nbformat.write(notebook, path)


def write_book(folder: Path) -> None:
    """Write the book into a folder, in the place of what is there; its first page is index.html.

    Raises SphinxWarning where Sphinx would warn.
    """
    shutil.rmtree(folder, ignore_errors=True)  # over an older book Sphinx writes other bytes
    with TemporaryDirectory() as place, docutils_namespace():
        source = Path(place) / "source"
        shutil.copytree(NOTEBOOKS, source / "notebooks", ignore=shutil.ignore_patterns(".*"))
        for notebook in (source / "notebooks").glob("*.ipynb"):
            _add_doors(notebook)
        (source / "helpers.md").write_text(write_reference(), encoding="utf-8")
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
