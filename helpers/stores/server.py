"""A server that keeps a store: whether it answers, and one sentence for each way in which it does not let us in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.stores import StoreError, StoreRefusalError
from helpers.surroundings import environment
from helpers.trials import experiment_names

PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # a service may be slow to wake
# What MLflow says when a server is there and refuses, as a pattern, and what to say and advise instead. MLflow's own
# sentences begin with "API request" and hold the address, in which any word may stand.
REFUSALS = {
    "code 401|^UNAUTHENTICATED": "wants to know who you are: set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to what it gave you",
    "Invalid Host header": "does not know the name in its address: start it with --allowed-hosts and that name",
    "code 403|^PERMISSION_DENIED": "does not let this user in: ask for the right to read and write, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of somebody who has it",
    "code 404|^ENDPOINT_NOT_FOUND": "is no MLflow server, or lies under another path: correct the address in STORE",
    "code 407|ProxyError": "cannot be reached through the proxy: add its host to NO_PROXY",
    "code (426|505)|Upgrade Required": "wants another version of the client, which is mlflow {version} here",
    "SSLError|CERTIFICATE_VERIFY": "has no connection that can be trusted: begin STORE with http:// or https:// as the "
    "server does, and name its certificate in MLFLOW_TRACKING_SERVER_CERT_PATH",
    "valid JSON|Exceeded \\d+ redirects|error code 3": "answers with a page instead of data, as a sign-in page does: "
    "set the address behind it, and MLFLOW_TRACKING_TOKEN if it wants one",
    "^(?!API request).*[Ww]orkspace": "does not know the workspace in MLFLOW_WORKSPACE: correct or unset it",
    "^(?!API request).*([Cc]redential|[Aa]uthenticat)": "finds nobody to be here: give the credentials that its "
    "documentation names",
    "[Ii]nvalid url|unsupported URI|connection adapters": "has no address that MLflow can use: correct STORE",
    "code (400|4[12]|501)": "is there and does not understand this client, which is mlflow {version}",
}
FORBIDDEN = "code 403|^PERMISSION_DENIED|403 Client Error"  # in a request, or where files are fetched or sent


def ask_server() -> None:
    """Ask the server of the store in use for next to nothing, once, for at most 10 s.

    Raises StoreRefusalError, with its answer and what helps, where it refuses, StoreError where it is ill or away.
    """
    import mlflow

    uri = mlflow.get_tracking_uri()
    try:
        with environment(PROBE):
            mlflow.search_experiments(max_results=1)
    except Exception as error:  # the plugin of a service raises its own
        said = str(error)
        refusal = next((what for sign, what in REFUSALS.items() if re.search(sign, said)), None)
        if refusal:
            what = refusal.format(version=mlflow.__version__)
            raise StoreRefusalError(f"The store {uri} {what} ({_answer(said)}).") from error
        ill = re.search(r"(?:too many |error code )(5\d\d|429)", said)
        if ill:
            raise StoreError(f"The store {uri} answers with error {ill[1]}; see its log, or wait.") from error
        if not isinstance(error, mlflow.MlflowException | OSError):  # and no fault of the network, which may pass
            raise StoreRefusalError(f"The store {uri} cannot be used ({_answer(said)}).") from error
        raise StoreError(f"The store {uri} does not answer; start its server or choose another STORE.") from error


def ask_artifacts() -> None:
    """Ask the place of the artifacts, which a server may have elsewhere, for the names in our first experiment's.

    Hosted services are not asked, for some of them list no experiment's artifacts. Raises StoreError where that place
    does not answer the server.
    """
    import mlflow
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri, home = mlflow.get_tracking_uri(), mlflow.get_experiment_by_name(experiment_names()[0])
    if home is None or not home.artifact_location.startswith(("mlflow-artifacts:", "s3:")):
        return
    try:
        with environment(PROBE):
            get_artifact_repository(home.artifact_location).list_artifacts()
    except Exception as error:  # each kind of place raises its own
        raise StoreError(
            f"The store {uri} answers, but the place of its artifacts does not ({_answer(str(error))}); see its log."
        ) from error


@contextmanager
def needing(right: str) -> Iterator[None]:
    """Raise StoreRefusalError, with the right that it takes, where a server forbids this user what is done inside.

    right completes the sentence, as in "EDIT on the experiment x". Any other error is raised as it is.
    """
    import mlflow
    from mlflow.utils.credentials import read_mlflow_creds

    try:
        yield
    except (mlflow.MlflowException, OSError) as error:
        if not re.search(FORBIDDEN, str(error)):
            raise
        uri, user = mlflow.get_tracking_uri(), read_mlflow_creds().username or "this user"
        raise StoreRefusalError(
            f"The store {uri} does not let {user} do this, which takes {right}: ask its admin for it."
        ) from error


def _answer(said: str) -> str:
    """What a server answered, or else what MLflow says, in at most 100 characters and one line."""
    body = re.sub(r"(?s).*?(Response body: '(.*)'|failed with exception (.*))", r"\2\3", said)
    words = " ".join(re.sub("<[^>]*>", " ", body).split())
    return f"it says {words[:100]!r}" if words else "it says nothing more"
