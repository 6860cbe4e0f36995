"""What is trained: one shape for what any library fitted, and a module per library."""

from importlib import import_module
from types import ModuleType

from helpers.parameters import check_parameters
from helpers.trials import LIBRARIES, Trial


def library_of(architecture: str) -> ModuleType:
    """The module that trains an architecture, imported when it is asked for.

    Raises ValueError for an unknown architecture.
    """
    if architecture not in LIBRARIES:
        raise ValueError(f"There is no architecture {architecture!r}; choose one of {', '.join(LIBRARIES)}.")
    return import_module(f"helpers.models.{LIBRARIES[architecture]}")


def check(trial: Trial) -> None:
    """Raise ValueError, with one sentence, for a trial that nothing can be trained with."""
    library, given = library_of(trial.architecture), set(trial.parameters)
    if not library.NEEDED <= given <= library.NEEDED | library.OPTIONAL:
        wanted = ", ".join(sorted(library.NEEDED)) + "".join(f", maybe {name}" for name in sorted(library.OPTIONAL))
        raise ValueError(f"A trial of {trial.architecture} is made of {wanted}, and not of {', '.join(sorted(given))}.")
    check_parameters(SEED=trial.seed, **{name.upper(): value for name, value in trial.parameters.items()})
