"""The book's page of the helpers: every public function and class, read from the source, which is not imported."""

import ast
import html
import re
from inspect import cleandoc
from pathlib import Path

from helpers import NOTEBOOKS

TITLE = """# The helpers

What the notebooks call, one module per concept, from the docstrings. The README tells which module builds on which.
"""


def write_reference() -> str:
    """The page, in Markdown: for each module what it is about, then what it offers."""
    package = NOTEBOOKS.parent / "helpers"
    paths = [path for path in sorted(package.rglob("*.py")) if package / "tools" not in path.parents]
    modules = [_module(path, ".".join(path.relative_to(package.parent).with_suffix("").parts)) for path in paths]
    return "\n\n".join([TITLE, *filter(None, modules)])


def _module(path: Path, name: str) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    offered = [part for node in tree.body for part in _offered(node)]
    return "\n\n".join([f"## {name.removesuffix('.__init__')}", _words(tree), *offered]) if offered else ""


def _offered(node: ast.stmt, owner: str = "") -> list[str]:
    """A public function, or a public class and its methods; nothing for any other statement."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
        return []
    if isinstance(node, ast.FunctionDef):
        gives = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return [f"```python\n{owner}{node.name}({ast.unparse(node.args)}){gives}\n```", _words(node)]
    methods = [part for inner in node.body for part in _offered(inner, f"{node.name}.")]
    return [f"```python\nclass {node.name}\n```", _words(node), *methods]


def _words(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """A docstring in its own paragraphs, as wide as the page, and no sign in it read as Markdown."""
    text = re.sub(r"(?<=\S)\n(?=[^\s-])", " ", cleandoc(ast.get_docstring(node) or ""))
    return f'<pre class="docstring">{html.escape(text)}</pre>'
