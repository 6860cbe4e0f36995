"""Writes what make versions has seen into the README's table."""

import re

import pytest

from tests.conftest import ROOT

README = ROOT / "README.md"
TABLE = r"(\| client \| store \| what ran \| result \|\n\|---\|---\|---\|---\|\n)((?:\|.*\n)*)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Put the row of each test in the place of those that were there, once every test has run."""
    ran = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    rows = [(*row, test.outcome) for test in ran for name, row in test.user_properties if name == "row"]
    text = README.read_text(encoding="utf-8")
    if len(rows) >= len(re.search(TABLE, text)[2].splitlines()):  # and not a few that somebody chose
        table = "".join(f"| {' | '.join(row)} |\n" for row in sorted(rows, key=lambda row: row[::-1]))
        README.write_text(re.sub(TABLE, lambda found: found[1] + table, text), encoding="utf-8")
