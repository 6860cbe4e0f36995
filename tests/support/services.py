"""Stores that refuse what a hosted service refuses. They are models of the services' documents, not the services.

MLflow finds them as it finds the plugin of a service: by an entry point under a scheme of its own (plugin.py).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlparse

from mlflow.entities import Experiment, RunTag
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel
from mlflow.entities.model_registry.model_version_search import ModelVersionSearch
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, FEATURE_DISABLED, INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
from mlflow.tracking._model_registry.utils import _get_store_registry
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

from tests.support.plugin import SCHEMES, model_registry_store, tracking_store


def unless(allowed: object, said: str, code: int = INVALID_PARAMETER_VALUE) -> None:
    if not allowed:
        raise MlflowException(said, code)


class DatabricksTracking(Tracking):
    def create_experiment(self, name: str, *rest: object, **more: object) -> str:
        unless(name.startswith("/"), f"Got an invalid experiment name {name!r}: a path is wanted")  # mlflow issue 8269
        return super().create_experiment(name, *rest, **more)


class OneConditionRegistry(Registry):
    """Searches by one condition, on the name or the run; what it finds has neither tags nor aliases."""

    def search_model_versions(self, filter_string: str | None = None, *rest: object, **more: object) -> PagedList:
        # mlflow issues 12217 and 16734, and the docstring of this call in MLflow's own client for Unity Catalog
        unless(re.fullmatch(r"(name|run_id) ?= ?'[^']*'", filter_string or ""), f"Unsupported filter: {filter_string}")
        found = super().search_model_versions(filter_string, *rest, **more)
        return PagedList([_bare(version) for version in found], found.token)


def _bare(version: ModelVersion) -> ModelVersionSearch:
    kept = {name: getattr(version, name) for name in ("name", "version", "creation_timestamp", "source", "run_id")}
    return ModelVersionSearch(**kept, status=version.status)


class UnityRegistry(OneConditionRegistry):
    def create_registered_model(self, name: str, *rest: object, **more: object) -> RegisteredModel:
        # split_uc_model_name in MLflow's own client
        unless(re.fullmatch(r"[^.]+\.[^.]+\.[^.]+", name), f"{name!r} is not catalog.schema.model")
        return super().create_registered_model(name, *rest, **more)

    def create_model_version(
        self, name: str, source: str, run_id: str | None = None, tags: Iterable = (), *rest: object, **more: object
    ) -> ModelVersion:
        # _validate_model_signature in MLflow's own client
        signature = get_model_info(source).signature
        unless(signature and signature.outputs, "Models must have a signature with inputs and outputs")
        for tag in tags or ():
            self._check(tag)
        return super().create_model_version(name, source, run_id, tags, *rest, **more)

    def set_model_version_tag(self, name: str, version: str, tag: ModelVersionTag) -> None:
        self._check(tag)
        super().set_model_version_tag(name, version, tag)

    def _check(self, tag: ModelVersionTag) -> None:
        # Databricks' page on tags in Unity Catalog: a key without these, at most 255 long, a value at most 1,000
        unless(re.fullmatch(r"[^.,=/:-]{1,255}", tag.key) and len(tag.value) <= 1000, f"Tag {tag.key!r} is not allowed")

    def transition_model_version_stage(self, *_: object, **__: object) -> None:
        unless(False, "Stages are not supported in Unity Catalog")  # the same call there


class OldTracking(Tracking):
    """Of a service that came before MLflow 3."""

    def create_logged_model(self, *_: object, **__: object) -> None:
        unless(False, "POST /logged-models", ENDPOINT_NOT_FOUND)  # azure-sdk-for-python 44896


class NoAliases:
    """Azure ML's table of what is supported has no aliases; Microsoft Fabric's documents do not name them."""

    code = ENDPOINT_NOT_FOUND

    def set_registered_model_alias(self, *_: object) -> None:
        unless(False, "POST /registered-models/alias", self.code)

    def get_model_version_by_alias(self, *_: object) -> None:
        unless(False, "GET /registered-models/alias", self.code)

    def delete_registered_model_alias(self, *_: object) -> None:
        unless(False, "DELETE /registered-models/alias", self.code)


class AzureRegistry(NoAliases, OneConditionRegistry):
    def create_model_version(self, name: str, source: str, *rest: object, **more: object) -> ModelVersion:
        # It takes runs:/, azureml:// and a job's output, as its page on registering models says.
        unless(not source.startswith("models:/"), f"Unsupported source {source}")
        return super().create_model_version(name, source, *rest, **more)


class FabricTracking(OldTracking):
    """As Fabric's plugin, synapseml-mlflow 2.0.3, does it in tracking_store.py."""

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Iterable = ()) -> str:
        self._check(name)
        return super().create_experiment(name, None, tags)  # a place of its own choice

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        self._check(experiment_name)
        return super().get_experiment_by_name(experiment_name)

    def _check(self, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,255}", name):
            raise Exception("Experiment names may only include dashes (-) or underscores (_).")

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        # Fabric's page on machine learning experiments, on tags
        unless(tag.key and tag.value, "Tags need a name and a value")
        unless(not re.match("mlflow|synapseml|trident", tag.key), f"The prefix of {tag.key} is reserved")
        super().set_tag(run_id, tag)

    def log_inputs(self, *_: object, **__: object) -> None:
        """Nothing, as below MLflow 3."""


class FabricRegistry(NoAliases, Registry):
    """As its model_registry_store.py."""

    code = FEATURE_DISABLED

    def create_registered_model(self, name: str, *rest: object, **more: object) -> RegisteredModel:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,254}", name):
            raise Exception("Model names may only include dashes (-), periods (.), or underscores (_).")
        return super().create_registered_model(name, *rest, **more)


KINDS = (DatabricksTracking, UnityRegistry), (OldTracking, AzureRegistry), (FabricTracking, FabricRegistry)
PROFILES = dict(zip(SCHEMES, KINDS, strict=True))
NAMES = {"like-unity": "#experiments=/Users/ann@example.com/&models=main.sports."}


@cache
def tracking(store_uri: str) -> Tracking:
    where = urlparse(store_uri)
    return PROFILES[where.scheme][0](f"sqlite:///{where.path}/service.db", f"file://{where.path}/artifacts")


@cache
def registry(store_uri: str) -> Registry:
    where = urlparse(store_uri)
    return PROFILES[where.scheme][1](f"sqlite:///{where.path}/service.db")


def address(scheme: str, folder: Path) -> str:
    """The STORE of a service that keeps what it has in a folder."""
    return f"{scheme}://{folder}{NAMES.get(scheme, '')}"


@contextmanager
def in_this_process() -> Iterator[None]:
    """The stores are known to MLflow inside."""
    places, registries = _tracking_store_registry._registry, _get_store_registry()._registry
    with (
        patch.dict(places, dict.fromkeys(SCHEMES, tracking_store)),
        patch.dict(registries, dict.fromkeys(SCHEMES, model_registry_store)),
    ):
        yield
