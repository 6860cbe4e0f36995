"""Stores that refuse what a hosted service refuses. They are models of the services' documents, not the services."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from mlflow.entities.model_registry import ModelVersion
from mlflow.entities.model_registry.model_version_search import ModelVersionSearch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
from mlflow.tracking._model_registry.utils import _get_store_registry
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

# Databricks' Unity Catalog takes one condition, on the name or on the run (mlflow issues 12217 and 16734).
ONE_CONDITION = r"(name|run_id) ?= ?'[^']*'"


class UnityRegistry(Registry):
    """Of Unity Catalog: searches by one condition, and versions that are found have neither tags nor aliases."""

    def search_model_versions(self, filter_string: str | None = None, *rest: object, **others: object) -> PagedList:
        if not re.fullmatch(ONE_CONDITION, filter_string or ""):
            raise MlflowException(f"Unsupported filter: {filter_string}", INVALID_PARAMETER_VALUE)
        found = super().search_model_versions(filter_string, *rest, **others)
        return PagedList([_bare(version) for version in found], found.token)


def _bare(version: ModelVersion) -> ModelVersionSearch:
    kept = {name: getattr(version, name) for name in ("name", "version", "creation_timestamp", "source", "run_id")}
    return ModelVersionSearch(**kept, status=version.status)


class OldTracking(Tracking):
    """Of a service that came before MLflow 3, as Azure ML: it knows no logged models (azure-sdk-for-python 44896)."""

    def create_logged_model(self, *_: object, **__: object) -> None:
        raise MlflowException("POST /logged-models", ENDPOINT_NOT_FOUND)


@contextmanager
def service(scheme: str, folder: Path, tracking: type[Tracking], registry: type[Registry]) -> Iterator[str]:
    """The address of a service under a scheme of its own, as a plugin would bring it."""
    database = f"sqlite:///{folder / 'service.db'}"
    places, registries = _tracking_store_registry._registry, _get_store_registry()._registry
    artifacts = (folder / "artifacts").as_uri()
    kept = tracking(database, artifacts), registry(database)
    with (
        patch.dict(places, {scheme: lambda store_uri, artifact_uri=None: kept[0]}),
        patch.dict(registries, {scheme: lambda store_uri: kept[1]}),
    ):
        yield f"{scheme}://here"
