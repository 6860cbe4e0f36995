"""Who is champion: moving the alias, back as well, and a record of every move that outlives what it is about."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import mlflow
import pandas as pd
from mlflow.entities import Metric, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking.context.registry import resolve_tags

from helpers import claims
from helpers.registry import run_of, search_versions, version_of
from helpers.stores.hosted import Client
from helpers.trials import PROMOTIONS, experiment_name, product_name

PATIENCE_SECONDS = 60  # for another process that moves the champion; a move takes about one
NOBODY = "nobody"  # where there is no version; some services take no empty tags
ALIASES = ("champion", "challenger", "previous", "forecast")  # those of the product that the notebooks move
FACTS = ["how", "from", "to", "model", "trial", "digest", "data", "reason"]  # a record's tags


def promote(
    version: ModelVersion,
    champion: ModelVersion | None,
    how: str,
    reason: str,
    numbers: Mapping[str, float] | None = None,
) -> bool:
    """Make a version of the product its champion, and what was champion its previous; False if it was champion already.

    champion is the one that it was compared with, or None where there is none. The record is written first: how (such
    as "gate" or "forced"), the reason, and the numbers behind it. A call whose process dies is finished by the next
    one. Raises ValueError for a version of another model, and RuntimeError where somebody else is champion by now, or
    when another process keeps moving it.
    """
    if version.name != product_name():
        raise ValueError(f"Only a version of {product_name()} can be champion: copy that of {version.name} into it.")
    with turn() as run_id:
        before = _number(holder("champion"))
        if before == _number(version):
            return False
        if before != _number(champion):
            there, met = before or NOBODY, _number(champion) or NOBODY
            raise RuntimeError(f"The champion is version {there} by now and not {met}: compare with that one first.")
        _write(run_id, version, before, how, reason, numbers or {})
        _point(_number(version), before)
    return True


def roll_back(bad: ModelVersion, reason: str) -> bool:
    """Bring back who was champion before the bad one, which becomes previous; False if that is champion no more.

    It names the bad one, so that two people who roll back at once do so once. Who was before is asked of the record:
    the last one that was not rolled back itself and still exists. Raises LookupError where there is none.
    """
    with turn() as run_id:
        if _number(holder("champion")) != _number(bad):
            return False
        before = _before(_number(bad))
        if before is None:
            raise LookupError(f"Nobody was champion of {bad.name} before version {bad.version}: promote another one.")
        _write(run_id, before, _number(bad), "rolled back", reason, {})
        _point(_number(before), _number(bad))
    return True


def _before(bad: str) -> ModelVersion | None:
    moves, rolled_back = history(), set()
    for how, before, to in zip(moves["how"], moves["from"], moves["to"], strict=True):
        if how == "rolled back":
            rolled_back.add(before)
        else:
            rolled_back.discard(to)  # somebody thought better of it
    earlier = moves["from"][: moves.index[moves["to"] == bad][-1] + 1]
    wanted = [number for number in earlier[::-1] if number not in {"", bad, *rolled_back}]
    return next(filter(None, map(_version, wanted)), None)


def _version(number: str) -> ModelVersion | None:
    """A version of the product, or None where it was deleted."""
    return version_of(product_name(), number)


def opponent(challenger: ModelVersion) -> ModelVersion | None:
    """Whom a challenger meets at the gate: the champion, or where it came through before, the one that it met then."""
    moves = history()
    came_in = moves[(moves["to"] == _number(challenger)) & (moves["how"] == "gate")]
    return (_version(came_in["from"].iloc[0]) if len(came_in) else None) or holder("champion")


def record_by_hand() -> str:
    """What moved_by_hand says; the move that it speaks of is in the record then, as a first champion's has to be."""
    said = moved_by_hand()
    if said:
        with turn():
            pass
    return said


def holder(alias: str) -> ModelVersion | None:
    """The version of the product that an alias points to, or None."""
    try:
        return Client().get_model_version_by_alias(product_name(), alias)
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def aliases_of(version: ModelVersion) -> list[str]:
    """The aliases that point to a version now; where a service has none, those of ALIASES."""
    own = set(Client().get_model_version(version.name, version.version).aliases)
    if version.name == product_name():
        own |= {alias for alias in ALIASES if _number(holder(alias)) == _number(version)}
    return sorted(own)


def _number(version: ModelVersion | None) -> str:
    """As text, whatever kind of number a store gives."""
    return str(version.version) if version else ""


@contextmanager
def turn() -> Iterator[str]:
    """A run for the record of one move, while nobody else moves the champion; it is deleted where nothing is moved.

    What a dead process began is finished first, and what was moved by hand is recorded. Raises RuntimeError when
    another process keeps moving it.
    """
    client, deadline = mlflow.MlflowClient(), time.monotonic() + PATIENCE_SECONDS
    while (run := claims.claim(experiment_name(PROMOTIONS), "champion", "champion")) is None:
        if time.monotonic() > deadline:
            raise RuntimeError("Another process has been moving the champion for a minute; wait for it, or end it.")
        claims.wait()
    run_id = run.info.run_id
    with claims.held(run_id):
        _finish_others()
        said = moved_by_hand()
        if said:
            by_hand = client.create_run(run.info.experiment_id, tags=resolve_tags({}), run_name="champion").info.run_id
            _write(by_hand, holder("champion"), _last(), "by hand", said, {})
            client.set_terminated(by_hand, "FINISHED")
        yield run_id
    if "to" not in client.get_run(run_id).data.tags:
        client.delete_run(run_id)  # nothing was to be moved


def _finish_others() -> None:
    """Finish the moves that died or failed on their way; a record that was not complete stands for nothing.

    A claim that lives is about to give way to ours, and closes its own run.
    """
    client = mlflow.MlflowClient()
    for run in _runs("attributes.status != 'FINISHED'"):
        tags = run.data.tags
        if "to" in tags and tags["how"] != "by hand" and not _version(tags["to"]):
            client.delete_tag(run.info.run_id, "to")  # its version was deleted since: nobody can finish that
            client.set_terminated(run.info.run_id, "FAILED")
        elif "to" in tags:
            if tags["how"] != "by hand":
                _point(tags["to"], _read(run, "from"))
            client.set_terminated(run.info.run_id, "FINISHED")
        elif run.info.status == "RUNNING" and "trial" not in tags:  # a move by hand that nobody came to write down
            client.set_terminated(run.info.run_id, "KILLED")
    claims.close_dead_runs(experiment_name(PROMOTIONS))


def _write(
    run_id: str, to: ModelVersion | None, before: str, how: str, reason: str, numbers: Mapping[str, float]
) -> None:
    """Write a record in one request, so that all of it is there or nothing."""
    facts = {"how": how, "from": before or NOBODY, "to": _number(to) or NOBODY, "reason": reason}
    source = run_of(to) if to else None
    if source:
        made_of = f"{source.data.params.get('architecture', '')} {source.info.run_name}"
        facts |= {"model": made_of.strip(), "data": source.data.params.get("data", "")}
    if to:
        facts |= {name: to.tags.get(name, "") for name in ("trial", "digest")}
    now, client = int(time.time() * 1000), mlflow.MlflowClient()
    metrics = [Metric(name, float(value), now, 0) for name, value in numbers.items()]
    client.log_batch(run_id, metrics=metrics, tags=[RunTag(*fact) for fact in facts.items() if fact[1]])


def _point(to: str, before: str) -> None:
    """Move both aliases; doing it twice is doing it once."""
    client, product = Client(), product_name()
    if before and _version(before):
        client.set_registered_model_alias(product, "previous", before)
    client.set_registered_model_alias(product, "champion", to)


def _runs(query: str) -> list[Run]:
    home = mlflow.get_experiment_by_name(experiment_name(PROMOTIONS))
    return mlflow.search_runs([home.experiment_id], query, output_format="list") if home else []


def _read(run: Run, fact: str) -> str:
    said = run.data.tags.get(fact, NOBODY)
    return "" if said == NOBODY else said


def history() -> pd.DataFrame:
    """Every move of the champion, the first one first: when (UTC), by, how, from, to, what it was, and the numbers.

    from and to are numbers of versions of the product, from is empty for the first champion. A row stays when the
    version, its run and the alias are gone.
    """
    done = [run for run in _runs("attributes.status = 'FINISHED'") if "to" in run.data.tags]
    rows = [
        {
            "when": pd.Timestamp(run.info.end_time, unit="ms", tz="UTC"),
            "by": run.data.tags.get("mlflow.user", ""),
            **{fact: _read(run, fact) for fact in FACTS},
            **run.data.metrics,
        }
        for run in sorted(done, key=lambda run: (run.info.end_time, run.info.start_time))
    ]
    return pd.DataFrame(rows, columns=None if rows else ["when", "by", *FACTS])


def champion_at(when: datetime) -> pd.Series | None:
    """The move that made the champion of a moment, which is a time with its zone, or None before the first."""
    moves = history()
    moves = moves[moves["when"] <= when]
    return moves.iloc[-1] if len(moves) else None


def gated_champion() -> ModelVersion | None:
    """The champion, as it stands, if it came through the gate, or in the place of one that did; otherwise None."""
    moves, champion = history(), holder("champion")
    return champion if _number(champion) in set(moves.loc[moves["how"].isin(["gate", "renewed"]), "to"]) else None


def moved_by_hand() -> str:
    """A sentence where the alias champion is not where the record left it, or ""."""
    recorded, now = _last(), _number(holder("champion"))
    under_way = {run.data.tags.get("to") for run in _runs("attributes.status != 'FINISHED'")}
    if now == recorded or (now or NOBODY) in under_way:
        return ""
    there, was = (f"at version {number}" if number else "nowhere" for number in (now, recorded))
    return f"The alias champion is {there} and was left {was} by the last recorded move: somebody moved it by hand."


def recorded() -> set[str]:
    """The numbers of the versions that are or were champion, by the record, or are about to be."""
    runs = _runs("attributes.status != 'KILLED'")
    return {_read(run, side) for run in runs if "to" in run.data.tags for side in ("from", "to")} - {""}


def deleted() -> str:
    """A sentence that names the versions that are or were champion, by the record, and are gone, or "".

    Our own functions delete none of them.
    """
    moves, there = history(), {_number(version) for version in search_versions(f"name = '{product_name()}'")}
    made_of = dict(zip(moves["to"], moves["model"], strict=True))
    gone = sorted({*moves["from"], *moves["to"]} - {""} - there, key=int)
    if not gone:
        return ""
    named = ", ".join(f"{number} ({made_of.get(number) or 'unknown'})" for number in gone)
    return (
        f"Of the versions of {product_name()} that the record of champions names, somebody deleted {named}: "
        "the record of them stays, but nobody can go back to them."
    )


def _last() -> str:
    moves = history()
    return moves["to"].iloc[-1] if len(moves) else ""
