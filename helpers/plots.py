"""One function per figure: it takes a frame that others computed and returns the Axes it is drawn on."""

from itertools import cycle
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.patheffects import withStroke

from helpers.games import LEAGUES
from helpers.trials import ARCHITECTURES, LIBRARIES

# Okabe and Ito's palette, which the colour-blind can tell apart: M. Okabe, K. Ito, Color Universal Design (2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"
PINK, SKY = "#CC79A7", "#56B4E9"
TICKS = {True: "✓", False: "✗", None: ""}
ALWAYS_HALF = 0.25  # the Brier score of giving every game 0.5
LEAGUE_STYLES = {"M": {"color": BLUE, "marker": "o"}, "W": {"color": RED, "marker": "s"}}
RING = {"marker": "o", "ms": 12, "mfc": "none", "mec": "black"}  # around what is an alarm
STYLES = zip((BLUE, ORANGE, GREEN, PINK, SKY), "os^Dv", strict=True)
ARCHITECTURE_STYLES = {  # by an architecture's place, however many there are
    name: {"color": colour, "marker": marker}
    for name, (colour, marker) in zip(
        [*ARCHITECTURES, *sorted(LIBRARIES.keys() - ARCHITECTURES)], cycle(STYLES), strict=False
    )
}


MAP = {  # the one idea of the series, step by step
    "game": "two teams, one winner",
    "run": "a training, on record",
    "logged model": "files that answer",
    "version": "a name and a number",
    "alias": "champion, can move",
    "consumer": "asks the champion",
}
WIDTH = 5.6  # inches: on a phone, where a figure shrinks to the screen, 8 points are then still 7 pixels


def _axes(width: float = WIDTH, height: float = 3.4) -> Axes:
    axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _note(axes: Axes, words: str, point: tuple[float, float], shift: tuple[int, int], **style: object) -> None:
    """Words beside a point, that many points to its right and above it."""
    axes.annotate(words, point, xytext=shift, textcoords="offset points", **style)


def registry_map(*here: str) -> Axes:
    """From a game to whoever asks about one: the steps of MAP in two rows, those named by here in colour.

    Raises ValueError for a step that is not on the map.
    """
    if not set(here) <= set(MAP):
        raise ValueError(f"The map has the steps {', '.join(MAP)}, and not all of {', '.join(here)}.")
    axes = plt.subplots(figsize=(WIDTH, 1.9), layout="constrained")[1]
    for place, (step, words) in enumerate(MAP.items()):
        x, y = place % 3, -(place // 3)
        style = {"fc": BLUE, "ec": BLUE} if step in here else {"fc": "white", "ec": GREY}
        axes.add_patch(FancyBboxPatch((x - 0.4, y - 0.27), 0.8, 0.54, "round,pad=0.02,rounding_size=0.06", **style))
        colour = "white" if step in here else "black"
        axes.text(x, y + 0.1, step, ha="center", va="center", color=colour, fontsize=11, weight="bold")
        axes.text(x, y - 0.12, words, ha="center", va="center", color=colour, fontsize=8.5)
        if place % 3:
            axes.annotate("", (x - 0.43, y), (x - 0.57, y), arrowprops={"arrowstyle": "->", "color": GREY})
    axes.plot([2, 2, 0, 0], [-0.31, -0.5, -0.5, -0.55], color=GREY, lw=1)  # from the first row to the second
    axes.annotate("", (0, -0.69), (0, -0.52), arrowprops={"arrowstyle": "->", "color": GREY})
    axes.set(xlim=(-0.5, 2.5), ylim=(-1.35, 0.35))
    axes.set_axis_off()
    return axes


def margins(regular: pd.DataFrame) -> Axes:
    """How far apart games end: the share of each league's games by winning margin. Needs League, WScore, LScore."""
    axes = _axes()
    for league, games in regular.groupby("League"):
        share = (games["WScore"] - games["LScore"]).value_counts(normalize=True).sort_index()
        axes.plot(share.index, 100 * share, ms=3, label=LEAGUES[league], **LEAGUE_STYLES[league])
    axes.legend(frameon=False)
    axes.set(xlabel="winning margin (points, the few above 60 left out)", ylabel="share of games (%)", xlim=(0, 60))
    axes.set_title("How far apart games end")
    return axes


def strength_by_seed(teams: pd.DataFrame) -> Axes:
    """Margin ratings of the teams on each seed line, one dot per team. Needs League in the index, Seed, Margin."""
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
    axes.legend(frameon=False, loc="upper left")
    return axes


def scores(table: pd.DataFrame, best_possible: float | None, title: str) -> Axes:
    """Brier scores as dots with their 95 % intervals, the best at the top. Needs all, low, high, the names as index."""
    table = table.sort_values("all", ascending=False)
    axes = _axes(height=1.2 + 0.42 * len(table))
    for place, row in enumerate(table.itertuples()):
        axes.plot([row.low, row.high], [place, place], color=GREY, lw=1.5)
        axes.plot(row.all, place, "o", color=BLUE)
        _note(axes, f"{row.all:.4f}", (row.high, place), (6, -4))
    if best_possible is not None:
        axes.axvline(best_possible, color=RED, ls="--", lw=1.2)
        words = f"true probabilities, on average: {best_possible:.4f}"
        _note(axes, words, (best_possible, len(table) - 0.5), (4, 0), color=RED)
    axes.margins(x=0.1)
    axes.set_yticks(range(len(table)), [fill(name, 22) for name in table.index])
    axes.set(xlabel="Brier score (lower is better), with its 95 % interval", title=title, ylim=(-0.5, len(table)))
    return axes


def loss_curves(curves: pd.DataFrame, architecture: str, axes: Axes | None = None) -> Axes:
    """Both losses of a network and the epoch whose weights were kept. Needs train, validation, one row per epoch."""
    axes = axes or _axes()
    axes.plot(curves.index, curves["train"], color=GREY, ls="--", label="training")
    colour = ARCHITECTURE_STYLES[architecture]["color"]
    axes.plot(curves.index, curves["validation"], color=colour, label="validation")
    best = curves["validation"].idxmin()
    axes.plot(best, curves.loc[best, "validation"], "o", color=RED, label=f"kept: epoch {best}")
    axes.set(xlabel="epoch", ylabel="loss (mean squared error)", title=f"Loss, epoch by epoch: {architecture}")
    axes.locator_params(nbins=5)  # each number on an axis takes a millisecond, and the sweep draws often
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.2)  # room for the legend above curves that fill the rest
    axes.legend(frameon=False, ncols=3, loc="upper center")
    return axes


def loss_grid(curves: dict[tuple[str, float], pd.DataFrame]) -> np.ndarray:
    """loss_curves of every trial as small multiples: one row per architecture, one column per learning rate."""
    rows, columns = (list(dict.fromkeys(key[i] for key in curves)) for i in (0, 1))
    size = {"figsize": (WIDTH / 3 * max(3, len(columns)), 1.7 * len(rows) + 0.6), "layout": "constrained"}
    grid = plt.subplots(len(rows), len(columns), sharex=True, sharey="col", squeeze=False, **size)[1]
    for (architecture, rate), curve in curves.items():
        axes = loss_curves(curve, architecture, grid[rows.index(architecture), columns.index(rate)])
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{architecture}, {rate:g}", fontsize=9)
        axes.get_legend().remove()
        axes.locator_params(nbins=4)
        axes.tick_params(labelsize=8)
        axes.set(xlabel="", ylabel="")
    figure, lines = grid[0, 0].figure, grid[0, 0].get_lines()
    grid[-1, len(columns) // 2].set_xlabel("epoch", fontsize=9)
    figure.supylabel("loss (mean squared error)", fontsize=9)
    figure.suptitle("Loss by architecture and learning rate; each column has its own scale", fontsize=10)
    labels = ["training", "validation", "kept epoch"]
    legend = figure.legend(lines, labels, ncols=3, loc="outside lower center", frameon=False, fontsize=9)
    legend.legend_handles[1].set_color("black")  # each row has a colour of its own
    return grid


def score_by_learning_rate(board: pd.DataFrame) -> Axes:
    """Validation score against learning rate, one line per architecture.

    Needs architecture, learning_rate, val_brier.
    """
    axes = _axes()
    for architecture, style in ARCHITECTURE_STYLES.items():
        group = board[board["architecture"] == architecture].sort_values("learning_rate")
        if len(group):
            axes.plot(group["learning_rate"], group["val_brier"], label=architecture, fillstyle="none", ms=9, **style)
    axes.axhline(ALWAYS_HALF, color=GREY, lw=1, ls=":")
    _note(axes, "always 0.5", (board["learning_rate"].min(), ALWAYS_HALF), (0, -12))
    rates = sorted(board["learning_rate"].unique())
    axes.set(xscale="log", xlabel="learning rate (logarithmic)", ylabel="Brier score on validation (lower is better)")
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.set_title("Validation score of each trial")
    axes.legend(frameon=False)
    return axes


def leaderboard(board: pd.DataFrame, lines: dict[str, float]) -> Axes:
    """Candidates by validation score, the best at the top, with named scores as lines; the axis ends at always 0.5.

    Needs architecture, its parameters, val_brier, best first.
    """
    axes = _axes(height=1.8 + 0.34 * len(board))
    for place, row in enumerate(board[::-1].itertuples()):
        shown, arrow = (row.val_brier, "") if row.val_brier <= ALWAYS_HALF else (ALWAYS_HALF, ", off the scale →")
        axes.plot(shown, place, ms=7, ls="", **ARCHITECTURE_STYLES[row.architecture])
        _note(axes, f"{row.val_brier:.4f}{arrow}", (shown, place), (8, -3))
    for (name, score), style in zip(lines.items(), ("--", ":", "-."), strict=False):
        axes.axvline(score, color=GREY, lw=1.2, ls=style, label=f"{name}: {score:.4f}")
    axes.set_yticks(range(len(board)), _trial_names(board[::-1]))
    axes.set(xlabel="Brier score on the validation seasons (lower is better)", ylabel="architecture, learning rate")
    axes.set_xlim(right=ALWAYS_HALF + 0.002)
    axes.set_title("The leaderboard")
    axes.figure.legend(frameon=False, loc="outside lower center")
    return axes


def _trial_names(trials: pd.DataFrame) -> list[str]:
    """The architecture, and what tells its trials apart: the learning rate, and by name what else is there."""
    words = {"learning_rate": "", "C": "C ", "weight_decay": "decay ", "dropout": "dropout "}
    there = [name for name in words if name in trials]
    return [
        ", ".join([row["architecture"], *(f"{words[name]}{row[name]:g}" for name in there if row[name] == row[name])])
        for row in trials.to_dict("records")
    ]


def difference(comparison: pd.DataFrame, title: str) -> Axes:
    """Paired differences of Brier scores with their intervals and the line of no difference.

    Needs the architecture and the parameters of the rival, difference, low, high; one row per comparison.
    """
    axes = _axes(height=1.4 + 0.4 * len(comparison))
    for place, row in enumerate(comparison[::-1].itertuples()):
        style = ARCHITECTURE_STYLES[row.architecture]
        axes.plot([row.low, row.high], [place, place], color=style["color"], lw=3, solid_capstyle="butt")
        axes.plot(row.difference, place, ms=8, **style)
    axes.axvline(0, color=RED, lw=1.2, ls="--")
    axes.locator_params(axis="x", nbins=6)
    _note(axes, "no difference", (0, 1), (4, -10), xycoords=("data", "axes fraction"))
    axes.set_yticks(range(len(comparison)), _trial_names(comparison[::-1]))
    axes.set(xlabel="difference of the Brier scores (left of 0: the winner is better)", ylim=(-0.6, len(comparison)))
    axes.set_title(title)
    return axes


def best_so_far(scores: dict[str, list[float]]) -> Axes:
    """The lowest score after each trial, one line per way of choosing the trials; scores are in the order of trials."""
    axes = _axes()
    for (name, values), (colour, marker) in zip(
        scores.items(), ((BLUE, "o"), (ORANGE, "s"), (GREY, "^")), strict=False
    ):
        lowest = np.minimum.accumulate(values)
        axes.step(range(1, len(lowest) + 1), lowest, where="post", color=colour, marker=marker, ms=5, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trials that have finished", ylabel="lowest val_brier so far", title="The best score so far")
    axes.legend(frameon=False)
    return axes


def champions(moves: pd.DataFrame) -> Axes:
    """Who was champion, move by move: a step for each row of moves, which has to (a version's number) and how.

    Where nobody was, there is a gap.
    """
    axes, order = _axes(height=2.6), range(1, len(moves) + 1)
    versions = pd.to_numeric(moves["to"], errors="coerce")
    axes.step([*order, len(moves) + 1], [*versions, versions.iloc[-1]], where="post", color=BLUE)
    axes.plot(order, versions, "o", color=BLUE)
    for place, version, how in zip(order, versions, moves["how"], strict=True):
        if pd.notna(version):
            _note(axes, how, (place, version), (4, 5), fontsize=8)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xticks(order)
    axes.margins(y=0.25)
    axes.set(xlabel="move", ylabel="version", title="The champion, move by move")
    return axes


def lineage(steps: pd.DataFrame) -> Axes:
    """Where a version comes from, step by step, as boxes from the data down to the aliases, these in colour.

    Needs step, name, facts, one row per box.
    """
    words = [fill(f"{row.name}, {row.facts}".removesuffix(", "), 60) for row in steps.itertuples(index=False)]
    heights = [0.2 + 0.17 * (text.count("\n") + 1) for text in words]
    axes = plt.subplots(figsize=(WIDTH, sum(heights) + 0.24 * len(words)), layout="constrained")[1]
    top = 0.0
    for step, text, height in zip(steps["step"], words, heights, strict=True):
        is_end = step == "alias"
        style = {"fc": BLUE, "ec": BLUE} if is_end else {"fc": "white", "ec": GREY}
        axes.add_patch(FancyBboxPatch((0.05, top - height), 5.3, height, "round,pad=0,rounding_size=0.08", **style))
        kept = {"va": "center", "color": "white" if is_end else "black"}
        axes.text(0.15, top - height / 2, step, fontsize=10, weight="bold", **kept)
        axes.text(1.05, top - height / 2, text, fontsize=8.5, **kept)
        if top:
            axes.annotate("", (2.7, top), (2.7, top + 0.24), arrowprops={"arrowstyle": "->", "color": GREY})
        top -= height + 0.24
    axes.set(xlim=(0, 5.4), ylim=(top + 0.2, 0.04))
    axes.set_axis_off()
    return axes


def importances(shares: pd.Series) -> Axes:
    """What each parameter is worth, as bars. shares add up to 1, the largest first, named by parameter."""
    axes = _axes(height=1 + 0.4 * len(shares))
    axes.barh(range(len(shares)), 100 * shares[::-1], color=SKY)
    axes.set_yticks(range(len(shares)), [name.replace("_", " ") for name in shares.index[::-1]])
    axes.set(xlabel="share of the differences in val_brier (%)", title="What each parameter of a network is worth")
    return axes


def paired_bootstrap(errors: pd.DataFrame, means: np.ndarray, interval: tuple[float, float]) -> np.ndarray:
    """How two models are compared: their squared errors game by game, then the mean difference, drawn again and again.

    errors has one row per game and a column for each of two models. means are the mean differences (first minus
    second) of the games drawn again, interval their middle 95 %.
    """
    one, other = errors.columns
    grid = plt.subplots(2, figsize=(WIDTH, 7), layout="constrained", height_ratios=(3, 2))[1]
    grid[0].scatter(errors[other], errors[one], s=14, alpha=0.4, color=BLUE, linewidths=0)
    grid[0].axline((0, 0), slope=1, color=GREY, lw=1, ls=":")
    grid[0].set(xlabel=f"squared error of {other}", ylabel=f"squared error of {one}")
    grid[0].set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    grid[0].set_title("Each dot is a game; on the dotted line both err alike", fontsize=11)
    grid[1].hist(means, bins=40, color=SKY)
    grid[1].axvspan(*interval, color=GREY, alpha=0.2, label="95 % of the draws")
    grid[1].axvline(0, color=RED, lw=1.2, ls="--", label="no difference")
    grid[1].locator_params(axis="x", nbins=6)
    grid[1].set(xlabel=f"mean difference (left of 0: {one} is better)", ylabel="draws")
    grid[1].set_title("The difference when the games are drawn again", fontsize=11)
    grid[1].legend(frameon=False, fontsize=9)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    return grid


def watched(scores: pd.DataFrame, drifts: pd.DataFrame) -> np.ndarray:
    """How a champion holds: its score in each season with the range of luck, and how far each feature moved last.

    scores is what monitoring.season_scores gives, drifts what monitoring.drift gives, of which the newest season is
    drawn, the feature that moved most at the top. A ring marks an alarm.
    """
    newest = drifts[drifts["Season"] == drifts["Season"].max()]
    order = newest.groupby("feature")["statistic"].max().sort_values().index
    size = {"figsize": (WIDTH, 4.3 + 0.19 * len(order)), "height_ratios": (3, 0.6 + 0.19 * len(order))}
    grid = plt.subplots(2, layout="constrained", **size)[1]
    for shift, (league, style) in zip((-0.12, 0.12), LEAGUE_STYLES.items(), strict=True):
        part, moved = scores[scores["League"] == league], newest[newest["League"] == league]
        seasons, rows = part["Season"] + shift, order.get_indexer(moved["feature"])
        grid[0].vlines(seasons, part["low"], part["high"], color=style["color"], lw=7, alpha=0.25)
        _dots(grid[0], league, seasons, part["brier"], part["alarm"])
        grid[1].plot(moved["limit"], rows, "|", color=style["color"], ms=8, alpha=0.6)
        _dots(grid[1], league, moved["statistic"], rows, moved["alarm"])
    grid[0].set(ylabel="Brier score (lower is better)", title="The score of each season, and the range of luck")
    grid[0].xaxis.get_major_locator().set_params(integer=True)
    grid[1].set(xlabel="gap between the shares of teams (0 to 1), with its limit |", ylim=(-0.8, len(order) - 0.2))
    grid[1].set(title=f"How far each feature moved, {newest['Season'].max()}")
    grid[1].set_yticks(range(len(order)), [name.replace("_", " ") for name in order], fontsize=8)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    handles = [plt.Line2D([], [], ls="", **style, label=LEAGUES[league]) for league, style in LEAGUE_STYLES.items()]
    handles.append(plt.Line2D([], [], ls="", **RING, label="alarm"))
    grid[0].figure.legend(handles=handles, ncols=3, loc="outside lower center", frameon=False)
    return grid


def _dots(axes: Axes, league: str, x: pd.Series, y: pd.Series | np.ndarray, alarm: pd.Series) -> None:
    """A league's dots, those with an alarm in a ring."""
    rung = alarm.to_numpy()
    axes.plot(x, y, ls="", ms=5, **LEAGUE_STYLES[league])
    axes.plot(x[rung], y[rung], ls="", **RING)


def what_if(shifts: np.ndarray, chances: np.ndarray, number: str, team: str, rival: str) -> Axes:
    """How a team's chance to beat another moves when one of its numbers does. chances (0 to 1) belong to shifts."""
    axes = _axes()
    axes.plot(shifts, 100 * np.asarray(chances), color=BLUE)
    axes.axvline(0, color=GREY, lw=1, ls=":")
    axes.set(xlabel=f"change of its {number}", ylabel=f"chance to beat {rival} (%)", ylim=(0, 100))
    axes.set_title(f"If {team} were better or worse")
    return axes


def reliability(bins: pd.DataFrame) -> Axes:
    """Calibration: observed share of wins against predicted probability. Needs predicted, observed, games, low, high.

    A bar from low to high is where the point may lie by luck.
    """
    axes = _axes(height=4.8)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfectly calibrated")
    axes.vlines(bins["predicted"], bins["low"], bins["high"], color="#CCCCCC", lw=10, label="where luck puts 95 %")
    axes.plot(bins["predicted"], bins["observed"], "o", ms=5, color=BLUE)
    for row in bins.itertuples():
        _note(axes, f"{row.games}", (row.predicted, row.observed), (9, -4))
    axes.set(xlabel="predicted probability that Team1 wins", ylabel="share of those games that Team1 won")
    axes.set(title="Reliability of the predictions, with the number of games", xlim=(-0.03, 1.06), ylim=(-0.05, 1.05))
    axes.legend(frameon=False, loc="upper left")
    return axes


def stage_chances(stages: pd.DataFrame, title: str) -> Axes:
    """Each team's chance of each round as a heat table, darker where it is higher. Needs chances (0 to 1), named."""
    axes = plt.subplots(figsize=(WIDTH, 1 + 0.3 * len(stages)), layout="constrained")[1]
    axes.imshow(stages, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), chance in np.ndenumerate(stages.to_numpy()):
        axes.text(column, row, _per_cent(chance), ha="center", va="center", color="white" if chance > 0.6 else "black")
    axes.set_xticks(range(stages.shape[1]), [fill(stage, 7) for stage in stages.columns])
    axes.set_yticks(range(len(stages)), stages.index)
    axes.tick_params(length=0, labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, pad=10)
    return axes


def bracket(drawing: pd.DataFrame, title: str) -> Axes:
    """The bracket: on each line the team likeliest to take it and its chance, the likeliest winner in colour.

    Needs what Bracket.drawing gives, or last_sixteen, which is narrow enough for a phone. A tick stands where the
    team really took the line, a cross where it did not. A team that was sure to stand there has neither.
    """
    entry = drawing["depth"].max()
    size = (WIDTH, 7) if entry <= 4 else (9.5, 13)
    axes = plt.subplots(figsize=size, layout="constrained")[1]
    drawing = drawing.assign(x=entry - drawing["depth"].astype(float), end=entry - drawing["depth"] + 1)
    drawing.loc[drawing["depth"] == entry, "x"] -= 0.6  # room for the longest names
    drawing["on_path"] = drawing["label"] == drawing["label"].iloc[0]
    for row in drawing.itertuples():
        _bracket_names(axes, row, close=row.depth == entry > 4)
        axes.plot([row.x, row.end], [row.height, row.height], color=RED if row.on_path else "#B0B0B0", lw=1)
        if row.depth:
            above = drawing.loc[row.parent]
            colour = RED if row.on_path and above["on_path"] else "#B0B0B0"
            axes.plot([row.end, row.end], [row.height, above["height"]], color=colour, lw=1)
    key = "% that the model gave it; ✓ it stood there, ✗ it did not; in colour: the likeliest winner's way"
    axes.text(-0.6, 2**entry + 0.2, key, fontsize=8, color=GREY)
    for x, stage in drawing.groupby("x")["stage"].first().items():
        axes.text(x + 0.04, -1.6, stage, fontsize=8, color=GREY)
    axes.set(xlim=(-0.6, entry + 1), ylim=(2**entry + 0.4, -2))
    axes.set_axis_off()
    axes.set_title(title)
    return axes


def _bracket_names(axes: Axes, row: tuple, close: bool) -> None:
    """The team above its line and its chance below; where lines stand close, all above."""
    style = {"color": RED if row.on_path else "black", "weight": "bold" if row.on_path else "normal", "fontsize": 8}
    style["path_effects"] = [withStroke(linewidth=3, foreground="white")]  # a long name covers the next line
    chance = "" if row.chance == 1 else f"{_per_cent(row.chance)} % {TICKS[row.happened]}"
    axes.text(row.x + 0.04, row.height - 0.08, f"{row.label} {chance}" if close else row.label, va="bottom", **style)
    if not close:
        axes.text(row.x + 0.04, row.height + 0.12, chance, va="top", **style)


def _per_cent(chance: float) -> str:
    return "<1" if 0 < chance < 0.005 else ">99" if 0.995 < chance < 1 else f"{100 * chance:.0f}"
