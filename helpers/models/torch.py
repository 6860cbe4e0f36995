"""The small network once more, in PyTorch; the only module that imports it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.features import FEATURE_SETS, OUTCOME, Split, both_orders
from helpers.models import check
from helpers.models.fitted import FittedModel, Watch, numbers, rounding
from helpers.models.keras import BATCH_SIZE, PATIENCE
from helpers.surroundings import without_autologging
from helpers.trials import ARCHITECTURES, Trial

if TYPE_CHECKING:
    import torch

STOPS = True  # by games that it is not fitted to
NEEDED, OPTIONAL = {"learning_rate", "epochs"}, {"weight_decay", "batch_size"}

steady = nullcontext  # a network says itself in which numbers it reckons


@dataclass(frozen=True)
class TorchModel(FittedModel):
    """A network of build_network's, or the graph that was made of one to keep it."""

    flavor = "pytorch"
    packages = ("torch",)
    model: torch.nn.Module

    def tolerance(self, games: pd.DataFrame) -> float:
        """How far apart two ways or two processors may be when they ask this network about the same games."""
        rows, weights = numbers(games, self.columns), {k: v.numpy() for k, v in self.model.state_dict().items()}
        scaled = [(side - weights["mean"]) / weights["scale"] for side in (rows, _turned(rows, np.hstack))]
        hidden = [np.maximum(side @ weights["hidden.weight"].T + weights["hidden.bias"], 0) for side in scaled]
        return rounding(units @ weights["last.weight"].T for units in hidden)

    def _answer(self, rows: np.ndarray) -> np.ndarray:
        torch = start_torch()
        with torch.no_grad():
            parts = [self.model(torch.from_numpy(rows[i : i + 65536])) for i in range(0, len(rows), 65536)]
        return np.concatenate([part.numpy() for part in parts])[:, 0].astype(float) if parts else np.empty(0)


@cache
def start_torch() -> ModuleType:
    """PyTorch, imported on the first call. Raises RuntimeError, with what to do, where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise RuntimeError('PyTorch is not installed; pip install -e ".[torch]" brings it.') from error
    return torch


def use_cores(number: int) -> None:
    """Let this process's networks keep to that many cores."""
    start_torch().set_num_threads(number)


@without_autologging()
def train(trial: Trial, split: Split, start: TorchModel | None = None, watch: Watch | None = None) -> TorchModel:
    """A network fitted to every game of split.train in both orders, as the trial says; see keras.train."""
    check(trial)
    columns = FEATURE_SETS[trial.features]
    both, outcome = both_orders(split.train[columns], split.train[OUTCOME])
    games = numbers(both, columns)
    network = start.model if start else build_network(games, trial.seed)
    training = _tensors(games, outcome)
    held_out = _tensors(numbers(split.validation, columns), split.validation[OUTCOME])
    return TorchModel(network, columns, _fit(network, training, held_out, trial, watch))


def build_network(games: np.ndarray, seed: int) -> torch.nn.Module:
    """An untrained network with the hidden units of small, for raw feature columns, Team1's half first.

    It is built as keras.build_network says: the scaler is inside, the answer is the sigmoid of the difference of two
    strengths, and a row with a missing or infinite value is answered with NaN.
    """
    torch = start_torch()
    mean, spread = games.mean(axis=0, dtype=float), games.std(axis=0, dtype=float)
    network = _network_class()(
        *(torch.tensor(each, dtype=torch.float32) for each in (mean, np.where(spread, spread, 1)))
    )
    random = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(weight)
        else:
            torch.nn.init.xavier_uniform_(weight, generator=random)
    return network


@cache
def _network_class() -> type[torch.nn.Module]:
    torch = start_torch()
    (units,) = ARCHITECTURES["small"]

    class Network(torch.nn.Module):
        def __init__(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("mean", mean)
            self.register_buffer("scale", scale)
            self.hidden = torch.nn.Linear(len(mean), units, dtype=torch.float32, device="cpu")
            self.last = torch.nn.Linear(units, 1, bias=False, dtype=torch.float32, device="cpu")

        def strength(self, games: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.hidden((games - self.mean) / self.scale)))

        def forward(self, games: torch.Tensor) -> torch.Tensor:
            not_a_number = (games - games).sum(dim=1, keepdim=True)  # 0 for numbers, NaN for the rest
            logit = self.strength(games) - self.strength(_turned(games, lambda sides: torch.cat(sides, dim=1)))
            return torch.sigmoid(logit + not_a_number)

    return Network


def _turned(games: np.ndarray | torch.Tensor, join: object) -> np.ndarray | torch.Tensor:
    """The same games seen from the other team."""
    half = games.shape[1] // 2
    return join([games[:, half:], games[:, :half]])


def _tensors(games: np.ndarray, outcome: pd.Series) -> tuple[torch.Tensor, torch.Tensor]:
    torch = start_torch()
    return torch.from_numpy(games), torch.from_numpy(outcome.to_numpy("float32")[:, None])


def _fit(network: torch.nn.Module, training: tuple, held_out: tuple, trial: Trial, watch: Watch | None) -> pd.DataFrame:
    """Fit a network in place, keep the weights of the best epoch, or without held_out the last, and give its losses."""
    torch = start_torch()
    rate, decay = trial.parameters["learning_rate"], trial.parameters.get("weight_decay", 0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    random, losses, best, stops = torch.Generator().manual_seed(trial.seed), [], None, len(held_out[0]) > 0
    for epoch in range(1, trial.parameters["epochs"] + 1):
        order = torch.randperm(len(training[0]), generator=random)
        batches = order.split(trial.parameters.get("batch_size", BATCH_SIZE))
        trained = [_step(network, optimizer, *(part[rows] for part in training)) for rows in batches]
        with torch.no_grad():
            loss = float(torch.nn.functional.mse_loss(network(held_out[0]), held_out[1]))
        losses.append((float(np.mean(trained)), loss) if stops else (float(np.mean(trained)),))
        if not np.isfinite(losses[-1]).all():
            raise FloatingPointError(f"a loss was no finite number any more in epoch {epoch}")
        if watch and stops:
            watch(epoch, loss)
        if best is None or not stops or loss < best[0]:
            best = loss, epoch, {name: weight.clone() for name, weight in network.state_dict().items()}
        if epoch - best[1] >= PATIENCE:
            break
    network.load_state_dict(best[2])
    return pd.DataFrame(losses, columns=["train", "validation"][: 1 + stops], index=range(1, len(losses) + 1))


def _step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, games: torch.Tensor, won: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = start_torch().nn.functional.mse_loss(network(games), won)
    loss.backward()
    optimizer.step()
    return float(loss.detach())
