"""The notebooks' parameters: what each may be, and one sentence for one that is not."""

from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real

LARGEST_SEED = 2**31 - 1  # TensorFlow and NumPy take it, and so they do the few numbers after it that layers get


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: object, least: int, most: float = float("inf")) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


def _is_rate(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value) and value > 0


def _is_share(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= value < 1


def _are_rates(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_rate, value)) and len(value) == len(set(value)) >= 2


RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "SOURCE": (_is_text, "'simulated', 'kaggle' or a folder"),
    "STORE": (_is_text, "a folder or the address of an MLflow server"),
    "DATABASE": (lambda value: isinstance(value, str), "the address of a database, or empty"),
    "ARTIFACTS": (lambda value: isinstance(value, str), "a folder or an address such as s3://bucket/path, or empty"),
    "SEED": (lambda value: _is_whole(value, 0, LARGEST_SEED), f"a whole number from 0 to {LARGEST_SEED}"),
    "VALIDATION_SEASONS": (lambda value: _is_whole(value, 1), "a whole number of at least 1"),
    "TEST_SEASONS": (lambda value: _is_whole(value, 1), "a whole number of at least 1"),
    "EPOCHS": (lambda value: _is_whole(value, 1), "a whole number of at least 1"),
    "LEARNING_RATE": (_is_rate, "a number above 0"),
    "LEARNING_RATES": (_are_rates, "a list of at least two different numbers above 0, as in [0.01, 0.1]"),
    "C": (_is_rate, "a number above 0"),
    "MARGIN": (_is_share, "a number from 0 to below 1"),
    "WEIGHT_DECAY": (_is_rate, "a number above 0"),
    "DROPOUT": (_is_share, "a share from 0 to below 1"),
    "BATCH_SIZE": (lambda value: _is_whole(value, 1), "a whole number of at least 1"),
    "TRIALS": (lambda value: _is_whole(value, 1), "a whole number of at least 1"),
    "SEASON": (lambda value: value is None or _is_whole(value, 1), "a season such as 2024, or None for the newest"),
}


def check_parameters(**parameters: object) -> None:
    """Raise ValueError, with one sentence, for the first parameter that is not what RULES wants of its name."""
    for name, value in parameters.items():
        is_right, wanted = RULES[name]
        if not is_right(value):
            given = f"the text {value!r}" if isinstance(value, str) else f"{value!r}"
            raise ValueError(f"{name} is {given}; it must be {wanted}.")
