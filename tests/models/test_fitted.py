"""Columns are found by their names, and what is no number is refused, by any fitted model."""

import numpy as np
import pandas as pd
import pytest

from helpers.models.fitted import FittedModel, numbers

TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
RIGHT = {
    "as it is": TABLE,
    "columns reversed": TABLE[["b", "a"]],
    "a column more": TABLE.assign(c="text"),
    "int": TABLE.astype(int),
    "float32": TABLE.astype("float32"),
    "nullable int": TABLE.astype("Int64"),
    "numbers as objects": TABLE.astype(object),
    "another index": TABLE.set_index(pd.Index([7, 7, 7])),
}
WRONG = {
    "renamed": (TABLE.rename(columns={"a": "A"}), r"once: a \(missing\)"),
    "missing": (TABLE[["b"]], r"once: a \(missing\)"),
    "twice": (pd.concat([TABLE, TABLE[["a"]]], axis=1), r"once: a \(twice\)"),
    "text": (TABLE.assign(a=["1", "2", "3"]), r"in a \(3 of 3 rows\)"),
    "a word": (TABLE.assign(a=pd.Series([1, "Duke", 3], dtype=object)), r"in a \(1 of 3 rows\)"),
    "bool": (TABLE.assign(a=[True, False, True]), r"in a \(3 of 3 rows\)"),
    "None": (TABLE.assign(a=pd.Series([1, None, 3], dtype=object)), r"in a \(1 of 3 rows\)"),
    "NA": (TABLE.assign(a=pd.Series([1, None, 3], dtype="Int64")), r"in a \(1 of 3 rows\)"),
    "NaN": (TABLE.assign(a=[np.nan, 2, np.nan]), r"in a \(2 of 3 rows\)"),
    "inf": (TABLE.assign(b=[1, -np.inf, 2]), r"in b \(1 of 3 rows\)"),
    "too large for float32": (TABLE.assign(b=[1, 1e300, 2]), r"in b \(1 of 3 rows\)"),
    "dates": (TABLE.assign(a=pd.Timestamp(2021, 4, 5)), r"in a \(3 of 3 rows\)"),
    "complex": (TABLE.assign(a=[1j, 2, 3]), r"in a \(3 of 3 rows\)"),
}


@pytest.mark.parametrize("table", RIGHT.values(), ids=RIGHT)
def test_columns_are_found_by_their_names_whatever_their_kind_of_number(table):
    rows = numbers(table, ["a", "b"])
    assert rows.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert rows.dtype == "float32"


def test_no_rows_are_no_numbers():
    assert numbers(TABLE.head(0), ["a", "b"]).shape == (0, 2)


@pytest.mark.parametrize(("table", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_no_number_is_refused_by_column_and_count_and_never_shown(table, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        numbers(table, ["a", "b"])
    assert "\n" not in str(error.value)
    assert "Duke" not in str(error.value)


def test_a_table_without_names_is_refused():
    with pytest.raises(TypeError, match="pandas DataFrame with named columns, not as ndarray"):
        numbers(TABLE.to_numpy(), ["a", "b"])


class Sums(FittedModel):
    """Adds a row up."""

    def tolerance(self, games: pd.DataFrame) -> float:
        return 0.0

    def _answer(self, rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=1)


def test_a_fitted_model_asks_for_its_columns_in_its_own_order():
    fitted = Sums(None, ["b", "a"])
    assert fitted.predict(TABLE.assign(c="text")).tolist() == [5, 7, 9]
    with pytest.raises(ValueError, match=r"Each of 2 columns is needed once, .* a \(missing\)"):
        fitted.predict(TABLE[["b"]])
