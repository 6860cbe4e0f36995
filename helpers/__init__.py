"""What the notebooks share, one module per concept; importing one starts nothing."""

from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
