"""What the service behind a store cannot do: found out by asking, once, and then done in the next best way."""

import re
from collections.abc import Callable
from typing import TypeVar

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.store.entities.paged_list import PagedList

from helpers.stores.server import needing

T = TypeVar("T")
# What a service answers that does not know a request. A network's fault is none of these, nor is a refusal.
UNKNOWN = ("ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "INVALID_PARAMETER_VALUE", "NOT_IMPLEMENTED")

_lacking: set[tuple[str, str]] = set()  # stores, and what each does not know


def either(what: str, best: Callable[[], T], next_best: Callable[[], T]) -> T:
    """What best gives, or next_best where the store in use answers that it does not know what best asks for.

    what names it; once next_best did where best could not, that store is not asked for it again. Any other error is
    raised.
    """
    if lacks(what):
        return next_best()
    try:
        return best()
    except mlflow.MlflowException as error:
        # MLflow puts a sentence of its own round what a registry says to a copy.
        if not {error.error_code, getattr(error.__cause__, "error_code", None)} & set(UNKNOWN):
            raise
        given = next_best()
        _lacking.add((mlflow.get_tracking_uri(), what))
        return given


def if_there(ask: Callable[[], T]) -> T | None:
    """What ask gives, or None where the store in use has no such thing. Any other error is raised."""
    try:
        return ask()
    except mlflow.MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return None


def lacks(what: str) -> bool:
    """Whether the store in use was found not to know something that either was asked for."""
    return (mlflow.get_tracking_uri(), what) in _lacking


def whole(version: ModelVersion) -> ModelVersion:
    """A version that a search found, with its tags, which some services keep back."""
    if isinstance(version.tags, dict):
        return version
    return mlflow.MlflowClient().get_model_version(version.name, version.version)


class Client(mlflow.MlflowClient):
    """MLflow's own client, whose calls for aliases, copies and versions work on services that lack a part of them.

    Where there are no aliases, a version's tag alias_<alias> takes their place, and the highest number in it counts.
    """

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """As MLflow's."""
        best = super().set_registered_model_alias
        with needing(f"EDIT on the registered model {name}"):
            either("aliases", lambda: best(name, alias, version), lambda: self._mark(name, alias, version))

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """As MLflow's."""
        best = super().get_model_version_by_alias
        with needing(f"READ on the registered model {name}"):
            return either("aliases", lambda: best(name, alias), lambda: self._marked(name, alias))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """As MLflow's."""
        best = super().delete_registered_model_alias
        with needing(f"MANAGE on the registered model {name}"):
            either("aliases", lambda: best(name, alias), lambda: self._unmark(name, alias))

    def copy_model_version(self, src_model_uri: str, dst_name: str) -> ModelVersion:
        """As MLflow's, for a source of the form models:/<name>/<version>."""
        best = super().copy_model_version
        with needing(f"EDIT on the registered model {dst_name}, and READ on that of {src_model_uri}"):
            return either("copies", lambda: best(src_model_uri, dst_name), lambda: self._copy(src_model_uri, dst_name))

    def search_model_versions(self, *query: object, **more: object) -> PagedList[ModelVersion]:
        """As MLflow's; each version has its tags, which some services keep back from a search."""
        found = super().search_model_versions(*query, **more)
        return PagedList([whole(version) for version in found], found.token)

    def _mark(self, name: str, alias: str, version: str) -> None:
        if re.fullmatch(r"(?i)latest|v\d+|.*\W.*|", alias.replace("-", "_")):  # it is this word that was refused
            raise mlflow.MlflowException(f"An alias cannot be called {alias!r}.", INVALID_PARAMETER_VALUE)
        highest = max((number for number, _ in self._marks(name, alias)), default=0)
        self.set_model_version_tag(name, version, f"alias_{alias}", str(highest + 1))

    def _marks(self, name: str, alias: str) -> list[tuple[int, ModelVersion]]:
        found = self.search_model_versions(f"name = '{name}'")
        marks = [(version.tags.get(f"alias_{alias}", ""), version) for version in found]
        return [(int(mark), version) for mark, version in marks if mark.isdecimal()]

    def _marked(self, name: str, alias: str) -> ModelVersion:
        marks = self._marks(name, alias)
        if not marks:
            raise mlflow.MlflowException(f"{name} has no alias {alias}.", INVALID_PARAMETER_VALUE)
        return max(marks, key=lambda mark: (mark[0], int(mark[1].version)))[1]

    def _unmark(self, name: str, alias: str) -> None:
        for _, version in self._marks(name, alias):
            self.delete_model_version_tag(name, version.version, f"alias_{alias}")

    def _copy(self, src_model_uri: str, dst_name: str) -> ModelVersion:
        original = self.get_model_version(*src_model_uri.removeprefix("models:/").rsplit("/", 1))
        try:
            self.create_registered_model(dst_name)
        except mlflow.MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        tags = {tag: value for tag, value in original.tags.items() if not tag.startswith("alias_")}
        return self.create_model_version(dst_name, original.source, original.run_id, tags=tags)


def alias_uri(name: str, alias: str) -> str:
    """The address of the version that an alias points to: by the alias, or where there are none by its number."""
    version = Client().get_model_version_by_alias(name, alias)
    return f"models:/{name}/{version.version}" if lacks("aliases") else f"models:/{name}@{alias}"
