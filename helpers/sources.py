"""Where the games come from: a made-up league, a folder of CSV files, or Kaggle."""

from pathlib import Path

from helpers.games import Games, read_games
from helpers.simulate import simulate_games

KAGGLE_COMPETITION = "march-machine-learning-mania-2025"


def load_games(source: str, seed: int) -> Games:
    """The games of a source: "simulated" (made from the seed), "kaggle" (downloaded), or a folder of CSV files.

    Raises FileNotFoundError, ConnectionError or ValueError with one sentence that says what is wrong and where.
    """
    if source == "simulated":
        return simulate_games(seed)
    return read_games(_download() if source == "kaggle" else Path(source))


def _download() -> Path:
    import kagglehub

    page = f"https://www.kaggle.com/competitions/{KAGGLE_COMPETITION}"
    try:
        return Path(kagglehub.competition_download(KAGGLE_COMPETITION))
    except Exception as error:  # kagglehub lets errors of several HTTP libraries through
        raise ConnectionError(
            f"Kaggle did not hand out the games ({type(error).__name__}): accept the rules at {page}, put an API "
            "token where kagglehub looks for it (KAGGLE_USERNAME and KAGGLE_KEY, or ~/.kaggle/kaggle.json), or "
            'download the files by hand and set SOURCE to their folder; SOURCE = "simulated" needs no account.'
        ) from error
