"""Tables say the same twice, mark the best, and are legible as plain text."""

import pandas as pd

from helpers import tables

SCORES = pd.DataFrame(
    {"all": [0.25, 0.14826, 0.145], "low": [0.25, 0.1283, 0.1265], "high": [0.25, 0.1683, 0.1636]},
    index=["always 0.5", "strong", "truth"],
)


def test_numbers_are_rounded_and_the_best_is_bold_without_a_style():
    html = tables.show(SCORES, "Brier score", digits={"all": 3, "low": 1, "high": 1}, best={"all": "truth"}).to_html()
    assert "<caption>Brier score</caption>" in html
    assert "<b>0.145</b>" in html
    assert html.count("<b>") == 1
    assert "0.148</td>" in html


def test_numbers_without_named_digits_are_shown_whole():
    html = tables.show(SCORES, digits={"all": 2}).to_html()
    assert "0.15</td>" in html
    assert "0.1283" not in html
    assert html.count(">0</td>") == 6


def test_the_lowest_score_is_bold_and_what_stands_aside_takes_no_part():
    html = tables.scores(SCORES, "Brier score", aside="truth").to_html()
    assert "<b>0.1483</b>" in html
    assert html.count("<b>") == 1
    assert "0.128 to 0.168" in html


def test_two_tables_of_one_frame_have_the_same_bytes_and_of_another_do_not():
    assert tables.show(SCORES).to_html() == tables.show(SCORES).to_html()
    assert tables.show(SCORES, digits=4).uuid != tables.show(2 * SCORES, digits=4).uuid


def test_as_plain_text_it_is_the_rounded_frame():
    assert repr(tables.show(SCORES, digits=1)) == SCORES.round(1).to_string()
    assert repr(tables.show(SCORES.reset_index(drop=True))).split()[0] == "all"


def test_a_learning_rate_stands_as_it_was_given_in_a_column_and_in_the_index():
    rates = pd.DataFrame({"learning_rate": [0.001, 0.1], "score": [0.5, 0.25]})
    in_column = tables.show(rates, digits=2).to_html()
    in_index = tables.show(rates.set_index("learning_rate")).to_html()
    assert [">0.001<" in html and ">0.1<" in html for html in (in_column, in_index)] == [True, True]
    assert "0.001" in repr(tables.show(rates))
