"""Tables as the notebooks show them: pandas' Styler with rounded numbers, units in the caption, the best in bold."""

import hashlib
from collections.abc import Hashable, Mapping

import pandas as pd
from pandas.io.formats.style import Styler

RATE = "learning_rate"


class Table(Styler):
    """A Styler that is also legible as plain text, where pandas' own would show an address in memory."""

    def __repr__(self) -> str:
        return self.data.to_string(index=not self.hide_index_[0])


def show(
    frame: pd.DataFrame,
    caption: str = "",
    digits: int | Mapping[str, int] = 0,
    best: Mapping[str, Hashable] | None = None,
) -> Table:
    """A frame to look at. caption says what the numbers are, with their units.

    digits are the decimals of the numbers that are not whole, for all columns or by name, 0 where none is named; a
    learning rate stands as it was given, whether in a column of that name or in the index. best
    gives the row of the best value of a column; it is marked by an element of HTML, as the places that show notebooks
    drop styles. An index that only counts the rows is left out.
    """
    floats = dict.fromkeys(frame.select_dtypes("float").columns.difference([RATE], sort=False), 0)
    places = {**floats, **(digits if isinstance(digits, Mapping) else dict.fromkeys(floats, digits))}
    frame = frame.round(places)
    identity = hashlib.sha256((caption + frame.to_csv()).encode()).hexdigest()[:8]  # pandas' own is random
    shown = Table(frame, uuid=identity, cell_ids=False, caption=caption or None)
    shown.set_table_attributes('class="dataframe"')  # the look of pandas' own tables, wherever they have one
    formats = {column: f"{{:.{number}f}}" for column, number in places.items()} | {RATE: "{:g}"}
    shown.format({name: form for name, form in formats.items() if name in frame}, na_rep="")
    if frame.index.dtype.kind == "f":
        shown.format_index("{:g}")
    for column, row in (best or {}).items():
        shown.format(f"<b>{formats.get(column, '{}')}</b>", subset=([row], [column]))
    return shown.hide() if isinstance(frame.index, pd.RangeIndex) else shown


def scores(scores: pd.DataFrame, caption: str, aside: str) -> Table:
    """What scoring.score_table gave, its interval in one column and the lowest score of each column in bold.

    The row named aside, should there be one, takes no part in that.
    """
    points = scores.drop(columns=["low", "high"])
    interval = scores["low"].map("{:.3f}".format) + " to " + scores["high"].map("{:.3f}".format)
    points.insert(1, "95 % interval", interval)
    ranked = points.drop(columns="95 % interval").drop(index=aside, errors="ignore")
    return show(points, caption, digits=4, best=ranked.idxmin().to_dict())
