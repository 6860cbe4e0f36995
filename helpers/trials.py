"""What a candidate is made of, and every name that follows from it."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

PRODUCT = "march-madness"
ARCHITECTURES = {"small": (64,), "medium": (64, 64), "large": (128, 64, 64)}  # hidden units, layer by layer
# What trains a candidate, by its architecture, the simplest first: the name of a module in helpers.models.
LIBRARIES = {"linear": "sklearn", "small": "keras", "torch": "torch", "medium": "keras", "large": "keras"}
PROMOTIONS = "promotions"  # the experiment that keeps the record of who was champion
GRID = ("learning_rate", "epochs")  # the parameters of a trial of make_trials

_before = {"experiments": "", "models": ""}  # what stands before the names in the store in use


def put_before(experiments: str = "", models: str = "") -> None:
    """Begin the names of experiments and of registered models so from now on, as some services want it."""
    _before.update(experiments=experiments, models=models)


def plain(name: str) -> str:
    """The name itself, where it may stand in a filter. Raises ValueError for any but letters, digits and hyphens."""
    if not re.fullmatch("[A-Za-z0-9-]+", name.removeprefix(_before["models"])):
        raise ValueError(f"{name!r} cannot be a name here: letters, digits and hyphens only.")
    return name


def product_name() -> str:
    """The registered model that consumers load."""
    return _before["models"] + PRODUCT


def model_name(architecture: str) -> str:
    """The registered model of an architecture's versions."""
    return plain(f"{product_name()}-{architecture}")


def experiment_name(architecture: str) -> str:
    """The experiment of an architecture's runs."""
    return _before["experiments"] + plain(f"{PRODUCT}-{architecture}")


def model_names() -> list[str]:
    """The registered models of all candidates, the simplest first."""
    return [model_name(architecture) for architecture in LIBRARIES]


def experiment_names() -> list[str]:
    """The experiments of all candidates, the simplest first."""
    return [experiment_name(architecture) for architecture in LIBRARIES]


@dataclass(frozen=True)
class Trial:
    """What a candidate is made of. Two trials with equal fields make the same model, so one is enough.

    parameters are the architecture's own, such as learning_rate and epochs. start is the key of the trial whose model
    is trained further, if it does not start from scratch.
    """

    architecture: str
    parameters: Mapping[str, float | int | str] = field(hash=False)
    seed: int
    features: str
    data: str
    start: str = ""

    @property
    def model(self) -> str:
        """The registered model of its version."""
        return model_name(self.architecture)

    @property
    def experiment(self) -> str:
        """The experiment of its run."""
        return experiment_name(self.architecture)

    @property
    def made_of(self) -> dict[str, float | int | str]:
        """All that it is made of by name, as a run keeps it."""
        rest = {"seed": self.seed, "features": self.features, "data": self.data}
        start = {"start": self.start} if self.start else {}
        return {"architecture": self.architecture, **self.parameters, **rest, **start}

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits made from the fields, kept as the tag `trial` on the run and on the version.

        For further training it is the start's key and the data's fingerprint.
        """
        if self.start:
            return f"{self.start}-{self.data}"
        return hashlib.sha256(json.dumps(self.made_of, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """Its parameters in words, but for epochs and batch size, which only say how the training goes about it."""
        words = {name: value for name, value in self.parameters.items() if name not in ("epochs", "batch_size")}
        named = {name.replace("_", " "): value for name, value in words.items()}
        return ", ".join(f"{name} {v:g}" if isinstance(v, float) else f"{name} {v}" for name, v in named.items())

    def __str__(self) -> str:
        return f"{self.model}, {self.label}"


def make_trial(made_of: Mapping[str, object]) -> Trial:
    """The trial that is made of this; what is no field of a trial is one of its parameters."""
    named = {field.name for field in fields(Trial)}
    parameters = {name: value for name, value in made_of.items() if name not in named}
    return Trial(parameters=parameters, **{name: value for name, value in made_of.items() if name in named})


def make_trials(learning_rates: Iterable[float], epochs: int, seed: int, features: str, data: str) -> list[Trial]:
    """A trial for every architecture and learning rate, the smallest network first."""
    return [
        Trial(architecture, {"learning_rate": float(rate), "epochs": int(epochs)}, int(seed), features, data)
        for architecture in ARCHITECTURES
        for rate in learning_rates
    ]
