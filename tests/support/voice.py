"""How the notebooks speak, in numbers: `python -m tests.support.voice`."""

import ast
import re
from pathlib import Path
from statistics import mean, median

import nbformat
import pandas as pd

from helpers import NOTEBOOKS

WORD = r"[A-Za-z][A-Za-z'-]*"
BE = r"(?:am|is|are|was|were|be|been|being|'s|gets?|got)"
IRREGULAR = (
    "made|kept|given|taken|found|shown|told|drawn|written|done|known|seen|chosen|left|cut|put|set|lost|sent|built|thrown|"
    "read|meant|understood|said|called|brought|held|met|run|caught|grown|won|bought|paid|driven"
)
# A form of be and a participle, with at most an adverb or a not between them. It also counts states ("is interested"),
# so what it says is rather too high than too low.
PASSIVE = rf"\b{BE}\s+(?:(?:not|never|only|always|already|just|also|still|once|\w+ly)\s+)?(?:\w+ed|{IRREGULAR})\b"
LINK = r"\]\(https?://"


def prose(cells: list) -> str:
    """The words of the text cells, without code, links' addresses, pictures and the marks of Markdown."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```|!\[[^\]]*\]\([^)]*\)|`[^`]*`", " x ", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)|[*#>\[]", " ", text)


def calls(cells: list) -> tuple[int, int]:
    """How many calls the code cells make into MLflow and into helpers, by the names that they import from there.

    What an assignment gets from MLflow, a client or a loaded model, is MLflow's too, and so is the Client of helpers,
    which is MLflow's own class with a few of its calls mended; what helpers give back is mostly a table of pandas.
    """
    tree = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    owner = {"mlflow": "mlflow"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            owner |= dict.fromkeys((alias.name for alias in node.names), node.module.split(".")[0])
    owner["Client"] = "mlflow"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            name = getattr(node.targets[0], "id", "")
            if owner.get(_root(node.value)) == "mlflow":
                owner.setdefault(name, "mlflow")
    owners = [owner.get(_root(node)) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return owners.count("mlflow"), owners.count("helpers")


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def count(paths: list[Path]) -> dict[str, float]:
    """The counts of some notebooks together: per 1,000 words, per cell, or how many."""
    notebooks = [nbformat.read(path, as_version=4).cells for path in paths]
    cells = [cell for notebook in notebooks for cell in notebook]
    text = prose(cells)
    words = len(re.findall(WORD, text))
    code = [cell.source.splitlines() for cell in cells if cell.cell_type == "code"]
    texts = [len(cell.source.split()) for cell in cells if cell.cell_type == "markdown"]
    in_mlflow, in_helpers = map(sum, zip(*map(calls, notebooks), strict=True))
    return {
        "we": 1000 * len(re.findall(r"\bwe\b", text, re.IGNORECASE)) / words,
        "passives": 1000 * len(re.findall(PASSIVE, text, re.IGNORECASE)) / words,
        "links": len(re.findall(LINK, "".join(cell.source for cell in cells))),
        "calls of MLflow": in_mlflow,
        "calls of helpers": in_helpers,
        "lines, median": median(map(len, code)),
        "lines, most": max(map(len, code)),
        "widest line": max(len(line) for lines in code for line in lines),
        "words a text": mean(texts),
    }


def count_all() -> pd.DataFrame:
    """The counts of all notebooks, one row per notebook and one for all of them."""
    paths = {path.stem[:2]: [path] for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    paths["all"] = [path for alone in paths.values() for path in alone]
    return pd.DataFrame({name: count(some) for name, some in paths.items()}).T


if __name__ == "__main__":
    print(count_all().round(1).to_string())
