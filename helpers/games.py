"""The games: the tables of one or both leagues, read from CSV files and checked."""

import difflib
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd

LEAGUES = {"M": "men", "W": "women"}
BOX_STATISTICS = ["FGM", "FGA", "FGM3", "FGA3", "FTM", "FTA", "OR", "DR", "Ast", "TO", "Stl", "Blk", "PF"]

_RESULT = ["Season", "DayNum", "WTeamID", "WScore", "LTeamID", "LScore", "WLoc", "NumOT"]
_BOX_SCORE = [side + statistic for side in "WL" for statistic in BOX_STATISTICS]
_FILES = {
    "regular": ("RegularSeasonDetailedResults.csv", _RESULT + _BOX_SCORE),
    "tourney": ("NCAATourneyCompactResults.csv", _RESULT),
    "seeds": ("NCAATourneySeeds.csv", ["Season", "Seed", "TeamID"]),
    "slots": ("NCAATourneySlots.csv", ["Season", "Slot", "StrongSeed", "WeakSeed"]),
    "teams": ("Teams.csv", ["TeamID", "TeamName"]),
}
_ALL_SCORES = "RegularSeasonCompactResults.csv"
_KEYS = [  # a table, what is wrong where two of its rows agree in the columns that follow
    ("seeds", "this seed was given before in this season", "Season", "Seed"),
    ("seeds", "this team has another seed in this season", "Season", "TeamID"),
    ("slots", "this slot stands here twice", "Season", "Slot"),
    ("teams", "this team stands here twice", "TeamID"),
]
_SAVE = "where a spreadsheet saved the file, save it again as CSV with commas, in UTF-8"
_TEXT = {  # column: what its values look like, as a pattern and in words
    "WLoc": (r"[HAN]", "H, A or N"),
    "Seed": (r"[W-Z]\d\d[ab]?", "a region W to Z, two digits, and a or b for a play-in"),
    "Slot": (r".+", "a text"),
    "StrongSeed": (r".+", "a text"),
    "WeakSeed": (r".+", "a text"),
    "TeamName": (r".+", "a text"),
}


@dataclass(frozen=True)
class Games:
    """Kaggle's tables with one more column, League ("M" or "W"), so that both leagues stand in one frame.

    regular  one row per regular-season game: Season, DayNum, WTeamID, WScore, LTeamID, LScore, WLoc (of the winner:
             H home, A away, N neutral), NumOT, then the box score of the winner (W...) and of the loser (L...)
    tourney  one row per tournament game, at least up to NumOT
    seeds    a team's seed in a season: region letter, 01 to 16, a or b for a play-in
    slots    how the bracket is wired: the winner of StrongSeed against WeakSeed takes Slot
    teams    TeamID and TeamName

    Simulated games also have WTrueProb, the probability before the game that the team which won would win.
    """

    regular: pd.DataFrame
    tourney: pd.DataFrame
    seeds: pd.DataFrame
    slots: pd.DataFrame
    teams: pd.DataFrame


def read_games(folder: Path) -> Games:
    """The games in a folder with Kaggle's CSV files of the men (M...), the women (W...) or both, checked.

    Raises FileNotFoundError for a missing folder or file, ValueError for what is wrong inside a file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"SOURCE: there is no folder {folder}; give the folder with Kaggle's CSV files.")
    leagues = [name for name in LEAGUES if any((folder / (name + file)).exists() for file, _ in _FILES.values())]
    if not leagues:
        wanted = "MTeams.csv or WTeams.csv"
        raise FileNotFoundError(f"{folder} holds none of Kaggle's files, such as {wanted}; unpack them there.")
    tables = [_read_league(folder, league) for league in leagues]
    stacked = {name: pd.concat([table[name] for table in tables], ignore_index=True) for name in _FILES}
    twice = stacked["teams"]["TeamID"].duplicated()
    if twice.any():
        team = stacked["teams"].loc[twice, "TeamID"].iloc[0]
        raise ValueError(
            f"Team {team} is in MTeams.csv and in WTeams.csv; one league's files were saved as the other's."
        )
    return Games(**stacked)


def _read_league(folder: Path, league: str) -> dict[str, pd.DataFrame]:
    missing = [league + file for file, _ in _FILES.values() if not (folder / (league + file)).exists()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; download Kaggle's files once more.")
    tables = {name: _read_table(folder / (league + file), columns) for name, (file, columns) in _FILES.items()}
    files = {name: league + file for name, (file, _) in _FILES.items()}
    for name, what, *key in _KEYS:
        _refuse(tables[name], tables[name].duplicated(key), files[name], what, *key)
    if (folder / (league + _ALL_SCORES)).exists():
        scores = _read_table(folder / (league + _ALL_SCORES), _RESULT)
        _check_league(tables | {"regular": scores}, files | {"regular": league + _ALL_SCORES})
        tables = _add_games_without_box_score(tables, scores)
    else:
        tables = _from_the_first_regular_season(tables)
    _check_league(tables, files)
    for table in tables.values():
        table.insert(0, "League", league)
    return tables


def _from_the_first_regular_season(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Kaggle's tournaments go back to seasons that have no box scores, where no team can be described."""
    first = tables["regular"]["Season"].min()
    return {name: table[table["Season"] >= first] if "Season" in table else table for name, table in tables.items()}


def _add_games_without_box_score(tables: dict[str, pd.DataFrame], scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Kaggle has results without box scores: of whole early seasons, left out here, and of some later games.

    The later ones still rate the teams; their statistics are missing (NaN).
    """
    seasons = tables["regular"]["Season"].unique()
    dated = {name: table[table["Season"].isin(seasons)] for name, table in tables.items() if "Season" in table}
    regular = scores[scores["Season"].isin(seasons)].merge(dated["regular"], on=_RESULT, how="outer")
    regular = regular.sort_values(["Season", "DayNum"], ignore_index=True)
    return tables | dated | {"regular": regular}


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    content = path.read_bytes()  # once, so that the row that is named is one of the table that was read
    try:
        table = pd.read_csv(BytesIO(content))
    except UnicodeDecodeError as error:
        text = content.decode("utf-8", "surrogateescape")  # a byte that cannot be read becomes a surrogate
        row = re.split("[\udc80-\udcff]", text)[0].count("\n") + 1
        raise ValueError(f"{path.name}, row {row}: a letter is not in UTF-8; {_SAVE}.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path.name} is not a table: {str(error).strip()}; download it once more.") from error
    for column in columns:
        if column not in table:
            raise ValueError(f"{path.name} has no column {column!r}; {_remedy(column, list(map(str, table)))}.")
        _check_column(table, column, path.name)
    table = table[columns].astype({column: "int64" for column in columns if column not in _TEXT})
    if "WScore" in columns:
        _check_games(table, path.name)
    return table


def _remedy(column: str, names: list[str]) -> str:
    """What to do about a column that is not among the names."""
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        return f"its columns are not separated by commas; {_SAVE}"
    near = difflib.get_close_matches(column, names, n=1)
    return f"is {near[0]!r} the one? Rename it" if near else "download the file once more"


def _check_column(table: pd.DataFrame, column: str, file: str) -> None:
    # Written out because pandera's coercion to whole numbers turns 2.5 into 2 without a word.
    if column in _TEXT:
        pattern, wanted = _TEXT[column]
        good = table[column].notna() & table[column].astype(str).str.fullmatch(pattern)
    else:
        number, wanted = pd.to_numeric(table[column], errors="coerce"), "a whole number, not negative"
        good = (number >= 0) & (number % 1 == 0)
    _refuse(table, ~good, file, f"column {column} should be {wanted}", column)


def _refuse(table: pd.DataFrame, bad: pd.Series, file: str, what: str, *columns: str) -> None:
    """Raise ValueError for the first bad row, counted as in the file, where the heading is row 1."""
    if bad.any():
        row = table.loc[bad.idxmax()]
        values = ", ".join(f"{name} {str(row[name])!r}" for name in columns)
        raise ValueError(f"{file}, row {bad.idxmax() + 2}: {what} ({values}); mend or delete the row.")


def _check_games(games: pd.DataFrame, file: str) -> None:
    shown = ("Season", "DayNum", "WTeamID", "LTeamID")
    _refuse(games, games["WTeamID"] == games["LTeamID"], file, "a team plays itself", *shown)
    _refuse(games, games["WScore"] <= games["LScore"], file, "the winner's score is not the higher", *shown)
    teams = games[["WTeamID", "LTeamID"]]
    pairs = games[["Season", "DayNum"]].assign(low=teams.min(axis=1), high=teams.max(axis=1))
    _refuse(games, pairs.duplicated(), file, "this game stands here twice", *shown)
    both = pd.concat([games[["Season", "DayNum"]].assign(team=games[side]) for side in teams])
    twice = both.duplicated().groupby(level=0).any()
    _refuse(games, twice, file, "a team plays a second game on one day", *shown)


def _check_league(tables: dict[str, pd.DataFrame], files: dict[str, str]) -> None:
    regular, tourney = tables["regular"], tables["tourney"]
    without = ~tourney["Season"].isin(regular["Season"])
    _refuse(tourney, without, files["tourney"], f"a season without games in {files['regular']}", "Season")
    late = regular["DayNum"] >= regular["Season"].map(tourney.groupby("Season")["DayNum"].min())
    _refuse(regular, late, files["regular"], "a game after the tournament began", "Season", "DayNum")
    for side in ("WTeamID", "LTeamID"):
        for name, games in (("regular", regular), ("tourney", tourney)):
            unknown = ~games[side].isin(tables["teams"]["TeamID"])
            _refuse(games, unknown, files[name], f"a team that is not in {files['teams']}", side)
        seeded = pd.MultiIndex.from_frame(tables["seeds"][["Season", "TeamID"]])
        playing = pd.MultiIndex.from_frame(tourney[["Season", side]])
        unseeded = pd.Series(~playing.isin(seeded), index=tourney.index)
        _refuse(tourney, unseeded, files["tourney"], f"a team without a seed in {files['seeds']}", "Season", side)
