"""What a store holds after the notebooks, as names and numbers: `python -m tests.support.contents STORE` prints it."""

import json
import sys
import tempfile
from pathlib import Path

import mlflow
from mlflow.models import Model

from helpers import promotion, registry
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.trials import GRID, experiment_names, model_names, product_name


def contents(store: str) -> dict[str, object]:
    """All candidates, what the aliases point to, the champion's origin, score, and answers about its own example."""
    use_store(store)
    client, product = Client(), product_name()
    champion = client.get_model_version_by_alias(product, "champion")
    candidates = [v for name in model_names() for v in client.search_model_versions(f"name = '{name}'")]
    scores = [client.get_run(version.run_id).data.metrics.get("val_brier") for version in candidates]
    aliases = client.get_registered_model(product).aliases or {"champion": champion.version}
    return {
        "candidates": sorted([v.name, int(v.version), v.tags["trial"], v.run_id] for v in candidates),
        "grid": sorted(v.name for v in candidates if set(registry.trial_of(v).parameters) == set(GRID)),
        "scored": all(0 < score < 1 for score in scores),
        "products": sorted(int(version.version) for version in client.search_model_versions(f"name = '{product}'")),
        "aliases": {alias: int(version) for alias, version in aliases.items()},
        "champion": [int(champion.version), champion.run_id],
        "moves": promotion.history()[["from", "to", "how"]].to_numpy().tolist(),
        "test_brier": client.get_run(champion.run_id).data.metrics["test_brier"],
        "runs": len(mlflow.search_runs(experiment_names=experiment_names())),
        "answers": answers(registry.champion(client.get_run(champion.run_id).data.params["data"])),
    }


def answers(version) -> list[float]:
    """What a version answers about the games that were kept with it as an example, to five digits."""
    with tempfile.TemporaryDirectory() as copy:
        uri = f"models:/{version.name}/{version.version}"
        folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=copy))
        example = Model.load(str(folder)).load_input_example(str(folder))
    return registry.load(version).predict(example).round(5).tolist()


if __name__ == "__main__":
    print(json.dumps(contents(sys.argv[1])))
