"""A product with versions that have no files, and moves of its champion in processes that can be told to die."""

import os
import signal
import sys

import mlflow
from mlflow.entities.model_registry import ModelVersion

from helpers import claims, promotion
from helpers.stores.store import use_store
from helpers.trials import experiment_name, product_name


def product(versions: int = 3) -> list[ModelVersion]:
    """The first versions of the product in the store in use, each with a run, made where they are missing."""
    client, name = mlflow.MlflowClient(), product_name()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    home = mlflow.get_experiment_by_name(experiment_name("linear"))
    there = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))
    for number in range(len(there), versions):
        run = client.create_run(home.experiment_id, run_name=f"C {number + 1}")
        client.log_param(run.info.run_id, "architecture", "linear")
        client.log_param(run.info.run_id, "data", "made-up")
        tags = {"trial": f"t{number + 1}", "digest": f"d{number + 1}"}
        there.append(client.create_model_version(name, f"runs:/{run.info.run_id}/model", run.info.run_id, tags=tags))
        client.set_terminated(run.info.run_id)
    return there


def pointed() -> dict[str, str]:
    """The numbers that the aliases point to."""
    held = {alias: promotion.holder(alias) for alias in ("champion", "previous")}
    return {alias: str(version.version) for alias, version in held.items() if version}


def die_after(stage: str) -> None:
    """Kill this process when it has come to a stage of a move."""
    place, name, call = STAGES[stage]
    honest, calls = getattr(place, name), []

    def deadly(*args: object, **kwargs: object) -> object:
        calls.append(name)
        result = honest(*args, **kwargs)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, deadly)


STAGES = {  # what has just been done, and at which call of it
    "claimed": (claims, "claim", 1),
    "others finished": (promotion, "_finish_others", 1),
    "written": (promotion, "_write", 1),
    "previous set": (promotion.Client, "set_registered_model_alias", 1),
    "champion set": (promotion.Client, "set_registered_model_alias", 2),
    "closed": (mlflow.MlflowClient, "set_terminated", 1),
}


if __name__ == "__main__":
    store, number, *stage = sys.argv[1:]
    use_store(store)
    versions = product()
    if stage:
        die_after(*stage)
    print("ready", flush=True)
    sys.stdin.readline()
    print(promotion.promote(versions[int(number) - 1], versions[0], "forced", "a test"))
