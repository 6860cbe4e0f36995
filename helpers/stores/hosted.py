"""What the service behind a store cannot do: found out by asking, once, and then done in the next best way."""

from collections.abc import Callable
from typing import TypeVar

import mlflow

T = TypeVar("T")
# What a service answers that does not know a request. A network's fault is none of these, nor is a refusal.
UNKNOWN = ("ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "INVALID_PARAMETER_VALUE", "NOT_IMPLEMENTED")

_lacking: set[tuple[str, str]] = set()  # stores, and what each does not know


def either(what: str, best: Callable[[], T], next_best: Callable[[], T]) -> T:
    """What best gives, or next_best where the store in use answers that it does not know what best asks for.

    what names it; once next_best did where best could not, that store is not asked for it again. Any other error is
    raised.
    """
    if lacks(what):
        return next_best()
    try:
        return best()
    except mlflow.MlflowException as error:
        # MLflow puts a sentence of its own round what a registry says to a copy.
        if not {error.error_code, getattr(error.__cause__, "error_code", None)} & set(UNKNOWN):
            raise
        given = next_best()
        _lacking.add((mlflow.get_tracking_uri(), what))
        return given


def lacks(what: str) -> bool:
    """Whether the store in use was found not to know something that either was asked for."""
    return (mlflow.get_tracking_uri(), what) in _lacking
