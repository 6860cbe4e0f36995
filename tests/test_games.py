"""Good files give the tables, and each kind of bad file gives one sentence that names file, place and remedy."""

import re
from pathlib import Path

import pandas as pd
import pytest

from helpers.features import matchup_table, split_by_season
from helpers.games import read_games
from helpers.simulate import simulate_games
from helpers.sources import load_games
from tests.conftest import write_csv

REGULAR, TOURNEY = "MRegularSeasonDetailedResults.csv", "MNCAATourneyCompactResults.csv"


@pytest.fixture(scope="module")
def small():
    return simulate_games(seed=3, seasons=[2018, 2019])


@pytest.fixture
def folder(small, tmp_path: Path) -> Path:
    return write_csv(small, tmp_path / "games")


def change(folder: Path, file: str, edit) -> None:
    table = pd.read_csv(folder / file, dtype=object)
    edit(table).to_csv(folder / file, index=False)


def set_cell(row: int, column: str, value: object):
    def edit(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return edit


def test_csv_files_give_the_same_tables_as_the_simulator(small, folder):
    read = load_games(str(folder), seed=0)
    for name in ("regular", "seeds", "slots", "teams"):
        expected = getattr(small, name).drop(columns=["WTrueProb", "Conference"], errors="ignore")
        pd.testing.assert_frame_equal(getattr(read, name), expected)


@pytest.mark.parametrize("league", ["M", "W"])
def test_one_league_alone_is_enough(small, tmp_path, league):
    read = read_games(write_csv(small, tmp_path / "games", leagues=league))
    assert set(read.regular["League"]) == set(matchup_table(read)["League"]) == {league}


def test_games_without_box_scores_are_kept_and_seasons_without_any_left_out(small, folder):
    scores = pd.read_csv(folder / REGULAR).iloc[:, :8]
    older = scores[scores["Season"] == 2018].assign(Season=1985)
    pd.concat([older, scores]).to_csv(folder / "MRegularSeasonCompactResults.csv", index=False)
    change(folder, REGULAR, lambda table: table.iloc[:-40])
    for file in (TOURNEY, "MNCAATourneySeeds.csv"):
        change(folder, file, lambda table: pd.concat([table[table["Season"] == "2018"].assign(Season="1985"), table]))
    men = read_games(folder).regular.query("League == 'M'")
    assert len(men) == len(scores)
    assert men["WFGM"].isna().sum() == 40
    assert not matchup_table(read_games(folder)).isna().any(axis=None)
    assert 1985 not in set(read_games(folder).tourney["Season"])


BAD_CELLS = [
    (REGULAR, set_cell(7, "WScore", "abc"), "row 9: column WScore should be a whole number", "'abc'"),
    (REGULAR, set_cell(7, "WScore", "70.5"), "row 9: column WScore should be a whole number", "'70.5'"),
    (REGULAR, set_cell(7, "LScore", None), "row 9: column LScore should be a whole number", "'nan'"),
    (REGULAR, set_cell(3, "LFGM", "-2"), "row 5: column LFGM should be a whole number", "'-2'"),
    (REGULAR, set_cell(3, "WLoc", "X"), "row 5: column WLoc should be H, A or N", "'X'"),
    (REGULAR, set_cell(3, "LScore", "500"), "row 5: the winner's score is not the higher", "WTeamID"),
    (REGULAR, set_cell(3, "WTeamID", "9999"), "row 5: a team that is not in MTeams.csv", "'9999'"),
    (REGULAR, set_cell(0, "DayNum", "150"), "row 2: a game after the tournament began", "'150'"),
    ("MNCAATourneySeeds.csv", set_cell(2, "Seed", "1W"), "row 4: column Seed should be a region", "'1W'"),
]


@pytest.mark.parametrize(("file", "edit", "where", "value"), BAD_CELLS)
def test_a_bad_cell_is_named_with_file_row_and_column(folder, file, edit, where, value):
    change(folder, file, edit)
    with pytest.raises(ValueError, match=re.escape(where)) as error:
        read_games(folder)
    assert str(error.value).startswith(f"{file}, row ")
    assert value in str(error.value)
    assert "mend or delete the row" in str(error.value)


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere; give the folder"):
        read_games(tmp_path / "nowhere")


def test_a_folder_without_any_of_the_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds none of Kaggle's files, such as MTeams\.csv"):
        read_games(tmp_path)


def test_a_missing_file_is_named(folder):
    (folder / "WNCAATourneySlots.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks WNCAATourneySlots\.csv; download"):
        read_games(folder)


def test_an_empty_file_is_named(folder):
    (folder / REGULAR).write_text("")
    with pytest.raises(ValueError, match=f"{REGULAR} is not a table: .*; download it once more"):
        read_games(folder)


def test_a_misspelt_column_is_named_with_the_likely_one(folder):
    change(folder, REGULAR, lambda table: table.rename(columns={"WScore": "WScor"}))
    with pytest.raises(ValueError, match=f"{REGULAR} has no column 'WScore'; is 'WScor' the one"):
        read_games(folder)


def test_a_missing_column_is_named(folder):
    change(folder, "MTeams.csv", lambda table: table[["TeamID"]])
    with pytest.raises(ValueError, match=r"MTeams\.csv has no column 'TeamName'; download"):
        read_games(folder)


def test_a_team_that_plays_itself(folder):
    team = pd.read_csv(folder / REGULAR)["WTeamID"][4]
    change(folder, REGULAR, set_cell(4, "LTeamID", str(team)))
    with pytest.raises(ValueError, match=rf"{REGULAR}, row 6: a team plays itself .*{team}"):
        read_games(folder)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_game_that_stands_twice(folder, mirrored):
    sides = {"WTeamID": "LTeamID", "LTeamID": "WTeamID"} if mirrored else {}
    change(folder, REGULAR, lambda table: pd.concat([table, table.iloc[[10]].rename(columns=sides)], ignore_index=True))
    rows = len(pd.read_csv(folder / REGULAR))
    with pytest.raises(ValueError, match=f"{REGULAR}, row {rows + 1}: this game stands here twice"):
        read_games(folder)


def test_a_second_game_of_a_team_on_one_day(folder):
    def edit(table: pd.DataFrame) -> pd.DataFrame:
        day = table[(table["Season"] == table["Season"][0]) & (table["DayNum"] == table["DayNum"][0])]
        table.loc[day.index[1], "LTeamID"] = day["WTeamID"].iloc[0]
        return table

    change(folder, REGULAR, edit)
    with pytest.raises(ValueError, match="a team plays a second game on one day"):
        read_games(folder)


def test_a_tournament_without_a_regular_season(folder):
    change(folder, REGULAR, lambda table: table[table["Season"] != "2019"])
    with pytest.raises(ValueError, match=rf"{TOURNEY}, row \d+: a season without games in {REGULAR}"):
        read_games(folder)


def test_a_team_in_the_tournament_without_a_seed(folder):
    change(folder, "MNCAATourneySeeds.csv", lambda table: table.iloc[1:])
    with pytest.raises(ValueError, match=rf"{TOURNEY}, row \d+: a team without a seed in MNCAATourneySeeds\.csv"):
        read_games(folder)


@pytest.mark.parametrize(("validation", "test"), [(1, 1), (3, 3), (0, 1), (1, 0), (-1, 1)])
def test_more_seasons_kept_than_there_are(small, validation, test):
    with pytest.raises(ValueError, match=r"There are 2 tournaments: VALIDATION_SEASONS"):
        split_by_season(matchup_table(small), validation, test)


TWICE = {
    "a seed": ("MNCAATourneySeeds.csv", "Seed", "this seed was given before in this season"),
    "a seeded team": ("MNCAATourneySeeds.csv", "TeamID", "this team has another seed in this season"),
    "a slot": ("MNCAATourneySlots.csv", "Slot", "this slot stands here twice"),
    "a team": ("MTeams.csv", "TeamID", "this team stands here twice"),
}


@pytest.mark.parametrize("what", TWICE)
def test_what_stands_twice_is_named_with_its_row(folder, what):
    file, column, sentence = TWICE[what]
    value = str(pd.read_csv(folder / file)[column][3])
    change(folder, file, set_cell(4, column, value))
    with pytest.raises(ValueError, match=rf"{file}, row 6: {sentence} .*{value}.*; mend or delete the row"):
        read_games(folder)


def test_letters_of_a_spreadsheet_are_named_with_their_row(folder):
    path = folder / "MTeams.csv"
    lines = path.read_text().splitlines()
    lines[7] = lines[7].replace(",", ",é", 1)
    path.write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(ValueError, match=r"MTeams\.csv, row 8: a letter is not in UTF-8; .* save it again as CSV"):
        read_games(folder)


@pytest.mark.parametrize("file", ["MTeams.csv", REGULAR])
@pytest.mark.parametrize("sign", [";", "\t"])
def test_columns_that_a_spreadsheet_separated_otherwise(folder, file, sign):
    path = folder / file
    path.write_text(path.read_text().replace(",", sign))
    with pytest.raises(ValueError, match=f"{file} has no column .*not separated by commas; .* save it again as CSV"):
        read_games(folder)


def test_what_a_spreadsheet_saves_as_utf_8_is_read(folder):
    before = read_games(folder)
    path = folder / "MTeams.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_games(folder).teams, before.teams)


def test_the_files_of_one_league_saved_as_the_others_are_refused(folder):
    for path in folder.glob("M*.csv"):
        (folder / path.name.replace("M", "W", 1)).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"Team \d+ is in MTeams\.csv and in WTeams\.csv; one league's files"):
        read_games(folder)


def test_tournaments_before_the_first_regular_season_are_left_out(folder):
    """As with Kaggle's detailed files alone: box scores from 2003, tournaments from 1985."""
    first = pd.read_csv(folder / REGULAR)["Season"].min()
    change(folder, REGULAR, lambda table: table[table["Season"].astype(int) > first])
    games = read_games(folder)
    for table in (games.regular, games.tourney, games.seeds, games.slots):
        assert table.loc[table["League"] == "M", "Season"].min() == first + 1


def test_a_season_that_is_missing_in_between_stays_an_error(folder):
    missing = pd.read_csv(folder / REGULAR)["Season"].min() + 1
    change(folder, REGULAR, lambda table: table[table["Season"].astype(int) != missing])
    with pytest.raises(ValueError, match=f"a season without games in {REGULAR} .*{missing}"):
        read_games(folder)
