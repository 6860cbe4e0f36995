"""The entry points of services.py. MLflow loads them in the middle of its own import, so it is not imported here."""

from pathlib import Path

SCHEMES = ("like-unity", "like-azureml", "like-fabric")
BUILDERS = {"mlflow.tracking_store": "tracking_store", "mlflow.model_registry_store": "model_registry_store"}


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> object:
    from tests.support.services import tracking

    return tracking(store_uri)


def model_registry_store(store_uri: str, tracking_uri: str | None = None) -> object:
    from tests.support.services import registry

    return registry(store_uri)


def install(folder: Path) -> None:
    """Make a folder that, on PYTHONPATH, brings these stores to MLflow as an installed plugin would."""
    home = folder / "services-0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: services\nVersion: 0\n")
    text = ""
    for group, builder in BUILDERS.items():
        text += f"[{group}]\n" + "".join(f"{scheme} = {__name__}:{builder}\n" for scheme in SCHEMES)
    (home / "entry_points.txt").write_text(text)
