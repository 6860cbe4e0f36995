"""One function a figure: it takes numbers that others computed and returns the Axes they are drawn on."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def _axes(width: float = 7.0, height: float = 4.0) -> Axes:
    """Axes on a figure of their own, in inches, without pyplot's global list of figures."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def loss_curves(train_loss: Sequence[float], validation_loss: Sequence[float]) -> Axes:
    """Both losses of one network, epoch by epoch, with the epoch whose weights were kept."""
    axes = _axes()
    epochs = range(1, len(train_loss) + 1)
    axes.plot(epochs, train_loss, label="training")
    axes.plot(epochs, validation_loss, label="validation")
    return axes
