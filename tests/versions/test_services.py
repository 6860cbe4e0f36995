"""The notebooks by the rules of hosted services, and the services' own plugins: nothing here reaches a service."""

import os

import pytest

from tests.conftest import ROOT
from tests.support.plugin import SCHEMES, install
from tests.support.services import address
from tests.versions.chain import chain, check, python_of, run

RULES = dict(zip(SCHEMES, ("Unity Catalog", "Azure ML", "Microsoft Fabric"), strict=True))
WORKSPACE = "11111111-2222-3333-4444-555555555555"
AZURE = f"westeurope.api.azureml.ms/mlflow/v1.0/subscriptions/{WORKSPACE}/resourceGroups/games/providers"
FABRIC = """
from synapse.ml.mlflow.synapse_mlflow_utils import MLflowEnvConfig
MLflowEnvConfig.resolve_mlflow_config = lambda context, folderId=None: print("workspace", context.workspace_id)
"""
SEEN = "print(_get_store().{})".format
# A STORE, what is done before and after it is used to see what its plugin made of it, and what has to be seen.
PLUGINS = {
    "synapseml-mlflow": (
        f"sds://api.fabric.microsoft.com/v1/workspaces/{WORKSPACE}/mlflow",
        (FABRIC, ""),
        f"workspace {WORKSPACE}",
    ),
    "sagemaker-mlflow": (
        "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/games",
        ("", SEEN("get_host_creds().host")),
        "https://eu-west-1.experiments.sagemaker.aws",
    ),
    "azureml-mlflow": (
        f"azureml://{AZURE}/Microsoft.MachineLearningServices/workspaces/madness",
        ("", SEEN("service_context.workspace_name")),
        "\nmadness\n",
    ),
}
# Each plugin then asks for a credential or a network, and gets none.
ASK = """
import sys
from helpers.stores import StoreError
from helpers.stores.store import use_store
from mlflow.tracking._tracking_service.utils import _get_store
{}
try:
    use_store(sys.argv[1])
except StoreError as error:
    print(error)
{}
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_notebooks_run_by_the_rules_of_a_service(scheme, tmp_path, record_property):
    record_property("row", ["the lock", f"a model of {RULES[scheme]}'s documents", "all notebooks"])
    install(tmp_path / "plugin")
    path = os.pathsep.join([str(tmp_path / "plugin"), str(ROOT)])
    check(chain("lock", address(scheme, tmp_path / "service"), tmp_path / "outputs", PYTHONPATH=path))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_services_own_plugin_finds_the_place_in_the_store_that_was_given(plugin, record_property):
    store, before_and_after, wanted = PLUGINS[plugin]
    record_property("row", ["MLflow 2.22.0, Python 3.13", f"{plugin}, without its service", "its place is found"])
    assert wanted in run(python_of("fabric-2.0"), "-c", ASK.format(*before_and_after), store)
