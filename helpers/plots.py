"""One function a figure: it takes a frame that others computed and returns the Axes it is drawn on."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.games import LEAGUES

# Okabe and Ito's palette, which the colour-blind can tell apart: M. Okabe, K. Ito, Color Universal Design (2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"
LEAGUE_STYLES = {"M": {"color": BLUE, "marker": "o"}, "W": {"color": RED, "marker": "s"}}
ARCHITECTURE_STYLES = {
    "small": {"color": BLUE, "marker": "o"},
    "medium": {"color": ORANGE, "marker": "s"},
    "large": {"color": GREEN, "marker": "^"},
}


def _axes(width: float = 7.5, height: float = 3.8) -> Axes:
    axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def margins(regular: pd.DataFrame) -> Axes:
    """How far apart games end: the share of each league's games by winning margin. Needs League, WScore, LScore."""
    axes = _axes()
    for league, games in regular.groupby("League"):
        share = (games["WScore"] - games["LScore"]).value_counts(normalize=True).sort_index()
        axes.plot(share.index, 100 * share, ms=3, label=LEAGUES[league], **LEAGUE_STYLES[league])
    axes.legend(frameon=False)
    axes.set(xlabel="winning margin (points)", ylabel="share of games (%)", xlim=(0, 60))
    axes.set_title("How far apart games end")
    return axes


def strength_by_seed(teams: pd.DataFrame) -> Axes:
    """Margin ratings of the teams on each seed line, a dot a team. Needs League in the index, Seed, Margin."""
    axes = _axes()
    for league, group in teams[teams["Seed"] <= 16].groupby("League"):
        shift = -0.15 if league == "M" else 0.15
        axes.scatter(group["Seed"] + shift, group["Margin"], s=9, alpha=0.35, linewidths=0, **LEAGUE_STYLES[league])
        mean = group.groupby("Seed")["Margin"].mean()
        axes.plot(mean.index + shift, mean, ms=5, label=f"{LEAGUES[league]}: teams and mean", **LEAGUE_STYLES[league])
    axes.set(xlabel="seed (1 is the committee's best)", ylabel="margin rating (points)", xticks=range(1, 17))
    axes.set_title("The strength of the teams on each seed line")
    axes.legend(frameon=False)
    return axes


def wins_by_seed_gap(rates: pd.DataFrame) -> Axes:
    """How often the better seed wins. Needs League, gap (difference of the seeds), rate (0 to 1), games."""
    axes = _axes()
    for league, group in rates.groupby("League"):
        axes.plot(group["gap"], 100 * group["rate"], ms=5, label=LEAGUES[league], **LEAGUE_STYLES[league])
    axes.axhline(50, color=GREY, lw=1, ls=":")
    axes.set(xlabel="difference of the seeds", ylabel="games won by the better seed (%)", ylim=(40, 102))
    axes.set_title("How often the better seed wins")
    axes.legend(frameon=False, loc="lower right")
    return axes


def scores(table: pd.DataFrame, best_possible: float | None, title: str) -> Axes:
    """Brier scores as dots with their 95 % intervals, the best at the top. Needs all, low, high; a name a row."""
    table = table.sort_values("all", ascending=False)
    axes = _axes(height=1.2 + 0.42 * len(table))
    for place, row in enumerate(table.itertuples()):
        axes.plot([row.low, row.high], [place, place], color=GREY, lw=1.5)
        axes.plot(row.all, place, "o", color=BLUE)
        axes.annotate(f"{row.all:.3f}", (row.all, place), xytext=(0, 6), textcoords="offset points", ha="center")
    if best_possible is not None:
        axes.axvline(best_possible, color=RED, ls="--", lw=1.2, label=f"best possible on average: {best_possible:.3f}")
        axes.figure.legend(loc="outside lower right", frameon=False)
    axes.set_yticks(range(len(table)), table.index)
    axes.set(xlabel="Brier score (lower is better), with its 95 % interval", title=title, ylim=(-0.5, len(table) - 0.2))
    return axes


def loss_curves(curves: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Both losses of a network and the epoch whose weights were kept. Needs train, validation; an epoch a row."""
    axes = axes or _axes()
    axes.plot(curves.index, curves["train"], color=GREY, ls="--", label="training")
    axes.plot(curves.index, curves["validation"], color=BLUE, label="validation")
    best = curves["validation"].idxmin()
    axes.plot(best, curves.loc[best, "validation"], "o", color=RED, label=f"kept: epoch {best}")
    axes.set(xlabel="epoch", ylabel="loss (mean squared error)", title="Loss, epoch by epoch")
    axes.locator_params(nbins=5)  # each number on an axis takes a millisecond, and the sweep draws often
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return axes


def loss_grid(curves: dict[tuple[str, float], pd.DataFrame]) -> np.ndarray:
    """loss_curves of every trial as small multiples: an architecture a row, a learning rate a column."""
    rows, columns = (list(dict.fromkeys(key[i] for key in curves)) for i in (0, 1))
    size = {"figsize": (3 * len(columns), 2.2 * len(rows)), "layout": "constrained"}
    grid = plt.subplots(len(rows), len(columns), sharex=True, sharey="col", squeeze=False, **size)[1]
    for (architecture, rate), curve in curves.items():
        axes = loss_curves(curve, grid[rows.index(architecture), columns.index(rate)])
        axes.set_title(f"{architecture}, learning rate {rate:g}", fontsize=9)
        axes.get_legend().remove()
        axes.tick_params(labelsize=8)
        axes.set_ylabel("" if rate != next(iter(curves))[1] else "loss (m.s.e.)")
        axes.set_xlabel("" if axes not in grid[-1] else "epoch")
    lines = grid[0, 0].get_lines()
    labels = ["training", "validation", "the epoch that was kept"]
    grid[0, 0].figure.legend(lines, labels, ncols=3, loc="outside lower center", frameon=False)
    return grid


def score_by_learning_rate(board: pd.DataFrame) -> Axes:
    """Validation score against learning rate, a line an architecture. Needs architecture, learning_rate, val_brier."""
    axes = _axes()
    for architecture, style in ARCHITECTURE_STYLES.items():
        group = board[board["architecture"] == architecture].sort_values("learning_rate")
        axes.plot(group["learning_rate"], group["val_brier"], label=architecture, fillstyle="none", ms=9, **style)
    axes.axhline(0.25, color=GREY, lw=1, ls=":")
    axes.annotate("always 0.5", (board["learning_rate"].min(), 0.25), xytext=(0, -12), textcoords="offset points")
    rates = sorted(board["learning_rate"].unique())
    axes.set(xscale="log", xlabel="learning rate (logarithmic)", ylabel="Brier score on validation (lower is better)")
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.set_title("Validation score of each trial")
    axes.legend(frameon=False)
    return axes


def leaderboard(board: pd.DataFrame, lines: dict[str, float]) -> Axes:
    """Candidates by validation score, the best at the top, with named scores as lines.

    Needs model, version, learning_rate, architecture, val_brier, best first.
    """
    axes = _axes(height=1.4 + 0.34 * len(board))
    for place, row in enumerate(board[::-1].itertuples()):
        axes.plot(row.val_brier, place, ms=7, ls="", **ARCHITECTURE_STYLES[row.architecture])
        axes.annotate(f"{row.val_brier:.4f}", (row.val_brier, place), xytext=(8, -3), textcoords="offset points")
    for (name, score), style in zip(lines.items(), ("--", ":", "-."), strict=False):
        axes.axvline(score, color=GREY, lw=1.2, ls=style, label=f"{name}: {score:.4f}")
    names = [f"{row.architecture}, {row.learning_rate:g}" for row in board[::-1].itertuples()]
    axes.set_yticks(range(len(board)), names)
    axes.set(xlabel="Brier score on the validation seasons (lower is better)", ylabel="architecture, learning rate")
    axes.margins(x=0.15)
    axes.set_title("The leaderboard")
    axes.legend(frameon=False)
    return axes


def difference(comparison: pd.DataFrame, title: str) -> Axes:
    """Paired differences of Brier scores with their intervals and the line of no difference.

    Needs difference, low, high; a comparison a row, named by the index.
    """
    axes = _axes(height=1.4 + 0.4 * len(comparison))
    for place, row in enumerate(comparison[::-1].itertuples()):
        axes.plot([row.low, row.high], [place, place], color=BLUE, lw=3, solid_capstyle="butt")
        axes.plot(row.difference, place, "o", color=BLUE)
    axes.axvline(0, color=RED, lw=1.2, ls="--")
    axes.annotate(
        "no difference", (0, 1), xycoords=("data", "axes fraction"), xytext=(4, -10), textcoords="offset points"
    )
    axes.set_yticks(range(len(comparison)), comparison.index[::-1])
    axes.set(xlabel="difference of the Brier scores (left of 0: the winner is better)", ylim=(-0.6, len(comparison)))
    axes.set_title(title)
    return axes


def reliability(bins: pd.DataFrame) -> Axes:
    """Calibration: observed share of wins against predicted probability. Needs predicted, observed, games."""
    axes = _axes(5.5, 4.8)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfectly calibrated")
    axes.scatter(bins["predicted"], bins["observed"], s=12 + bins["games"], color=BLUE, alpha=0.8, zorder=3)
    for row in bins.itertuples():
        axes.annotate(f"{row.games}", (row.predicted, row.observed), xytext=(9, -11), textcoords="offset points")
    axes.set(xlabel="predicted probability that Team1 wins", ylabel="share of those games that Team1 won")
    axes.set(title="Reliability of the predictions, with the number of games", xlim=(-0.03, 1.03), ylim=(-0.05, 1.05))
    axes.legend(frameon=False, loc="upper left")
    return axes


def stage_chances(stages: pd.DataFrame, title: str) -> Axes:
    """Each team's chance of each round as a heat table, darker where it is higher. Needs chances (0 to 1), named."""
    axes = plt.subplots(figsize=(7.5, 1 + 0.3 * len(stages)), layout="constrained")[1]
    axes.imshow(stages, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), chance in np.ndenumerate(stages.to_numpy()):
        text = "<1" if 0 < chance < 0.005 else ">99" if 0.995 < chance < 1 else f"{100 * chance:.0f}"
        axes.text(column, row, text, ha="center", va="center", color="white" if chance > 0.6 else "black")
    axes.set_xticks(range(stages.shape[1]), stages.columns)
    axes.set_yticks(range(len(stages)), stages.index)
    axes.tick_params(length=0, labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, pad=10)
    return axes


def bracket(drawing: pd.DataFrame, title: str) -> Axes:
    """The bracket: on each line the team likeliest to take it and its chance, the likeliest champion in colour.

    Needs what Bracket.drawing gives. A tick stands where the team really took the line, a cross where it did not.
    """
    axes = plt.subplots(figsize=(15, 14), layout="constrained")[1]
    favourite, entry = drawing["label"].iloc[0], drawing["depth"].max()
    room_for_names = 0.4 + 0.4 * (drawing["depth"] == entry)
    drawing = drawing.assign(x=drawing["side"] * (drawing["depth"] + room_for_names))
    for row in drawing.itertuples():
        colour, weight = (RED, "bold") if row.label == favourite else ("black", "normal")
        text = row.label
        if row.depth < entry:
            chance = ">99" if row.chance > 0.995 else f"{100 * row.chance:.0f}"
            text += f" {chance} %" + {True: " ✓", False: " ✗"}.get(row.happened, "")
        if row.depth == 0:
            axes.text(0, row.height - 1.2, text, color=colour, ha="center", fontsize=13, weight="bold")
            continue
        below = row.depth == 1 and row.side > 0  # the finalists share a line, so one stands under it
        place = {"ha": "left" if row.side < 0 else "right", "va": "top" if below else "bottom", "fontsize": 9}
        place["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # keeps crossing lines readable
        axes.text(row.x, row.height + (0.1 if below else -0.08), text, color=colour, weight=weight, **place)
        parent = drawing.loc[row.parent]
        line = RED if row.label == favourite == parent["label"] else "#B0B0B0"
        axes.plot([row.x, parent["x"], parent["x"]], [row.height, row.height, parent["height"]], color=line, lw=1)
    axes.invert_yaxis()
    axes.set_axis_off()
    axes.set_title(title, fontsize=14)
    return axes
