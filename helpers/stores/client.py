"""MLflow's client, on any service."""

import re

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.store.entities.paged_list import PagedList

from helpers.stores.hosted import either, lacks


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
        either("aliases", lambda: best(name, alias, version), lambda: self._mark(name, alias, version))

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """As MLflow's."""
        best = super().get_model_version_by_alias
        return either("aliases", lambda: best(name, alias), lambda: self._marked(name, alias))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """As MLflow's."""
        best = super().delete_registered_model_alias
        either("aliases", lambda: best(name, alias), lambda: self._unmark(name, alias))

    def copy_model_version(self, src_model_uri: str, dst_name: str) -> ModelVersion:
        """As MLflow's, for a source of the form models:/<name>/<version>."""
        best = super().copy_model_version
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
        return self.create_model_version(dst_name, original.source, original.run_id, tags=original.tags)


def alias_uri(name: str, alias: str) -> str:
    """The address of the version that an alias points to: by the alias, or where there are none by its number."""
    version = Client().get_model_version_by_alias(name, alias)
    return f"models:/{name}/{version.version}" if lacks("aliases") else f"models:/{name}@{alias}"
