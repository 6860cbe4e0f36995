"""A server that keeps a store: whether it answers, and one sentence for each way in which it does not let us in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.child import answers
from helpers.stores import PartAwayError, StoreError, StoreRefusalError
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
# What a database says that does not let a server work, as a pattern, and what helps. None tells that it has expired.
DATABASE_FAULTS = {
    "password|[Aa]uthenticat|Access denied": "renew the password that the server has there, which may have expired",
    "[Tt]oo many|connection slots": "close some of its connections or allow more, or wait",
    "": "see the server's log, or wait",
}
ILL = r"(?:too many |error code |^)(5\d\d|429)\b"
SEARCH = "/api/2.0/mlflow/experiments/search"
FORBIDDEN = "code 403|^PERMISSION_DENIED|403 Client Error"  # in a request, or where files are fetched or sent


def ask_server() -> None:
    """Ask the server of the store in use for next to nothing, once, for at most 10 s.

    Raises StoreRefusalError, with its answer and what helps, where it refuses, PartAwayError where its database is
    away, StoreError where it is ill or away itself.
    """
    import mlflow

    uri = mlflow.get_tracking_uri()
    try:
        with environment(PROBE):
            mlflow.search_experiments(max_results=1)
    except Exception as error:  # the plugin of a service raises its own
        said = str(error)
        if fault := _database_fault(uri, said):
            raise fault from error
        refusal = next((what for sign, what in REFUSALS.items() if re.search(sign, said)), None)
        if refusal:
            what = refusal.format(version=mlflow.__version__)
            raise StoreRefusalError(f"The store {uri} {what} ({_answer(said)}).") from error
        if not re.search(ILL, said) and not isinstance(error, mlflow.MlflowException | OSError):
            raise StoreRefusalError(f"The store {uri} cannot be used ({_answer(said)}).") from error
        raise _illness(uri, said) from error


def _database_fault(uri: str, said: str) -> StoreError | None:
    """What a server tells of the database behind it, in SQLAlchemy's words, or None where it tells nothing."""
    told = _untold(uri) if re.search(ILL, said) and uri.startswith("http") else said
    fault = re.search(r"(?s)\([\w.]+\) (.*?)\n.*sqlalche\.me", told)
    if not fault:
        return None
    answer = fault[1].rpartition(" failed: ")[2]  # what stands before that is the driver's
    sign = next(sign for sign in DATABASE_FAULTS if re.search(sign, answer))
    kind = StoreError if sign else PartAwayError
    return kind(
        f"The store {uri} answers, but the database behind it does not let it work ({_answer(answer)}): "
        f"{DATABASE_FAULTS[sign]}."
    )


def _illness(uri: str, said: str) -> StoreError:
    """What ails a server that refuses nobody: it is ill, or busy with its database, or away."""
    if ill := re.search(ILL, said):
        return StoreError(f"The store {uri} answers with error {ill[1]}; see its log, or wait.")
    if "timed out" in said and uri.startswith("http") and answers(f"{uri}/health"):
        return PartAwayError(
            f"The store {uri} is up, but does not answer what it has to ask the database behind it; see its log, or "
            "wait."
        )
    return StoreError(f"The store {uri} does not answer; start its server or choose another STORE.")


def _untold(uri: str) -> str:
    """What a server says with an error that may pass, of which MLflow's client tells no more than its number."""
    from mlflow import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    try:
        with environment(PROBE):
            http_request_safe(
                get_default_host_creds(uri), SEARCH, "POST", json={"max_results": 1}, raise_on_status=False
            )
    except MlflowException as error:
        return str(error)
    return ""  # it has passed


def ask_artifacts() -> None:
    """Ask the place of the artifacts, which a server may have elsewhere, for the names in our first experiment's.

    Hosted services are not asked, for some of them list no experiment's artifacts. Raises PartAwayError where that
    place does not answer the server.
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
        ill = re.search(ILL, str(error))
        answer = f"error {ill[1]}" if ill else _answer(str(error))
        raise PartAwayError(
            f"The store {uri} answers, but the place of its artifacts does not ({answer}); see its log."
        ) from error


def check_upload(error: BaseException) -> None:
    """Raise StoreError where an error is that a server, which is otherwise well, could not keep an artifact.

    MLflow's server keeps to its log what the place of the artifacts said.
    """
    import mlflow
    from requests.exceptions import ConnectionError, HTTPError, RetryError

    fault = error.__context__ if isinstance(error, mlflow.MlflowException) else error  # MLflow's own has no request
    if not isinstance(fault, HTTPError | RetryError | ConnectionError) or fault.request is None:
        return
    ill, request = re.search(r"(?:too many |^)(5\d\d)\b", str(fault)), fault.request
    is_cut = isinstance(fault, ConnectionError)  # the server gave up before it had read the whole file
    if (ill or is_cut) and request.method == "PUT" and "/mlflow-artifacts/" in request.url:
        answer = f"error {ill[1]}" if ill else "the connection was cut"
        raise StoreError(
            f"The store {mlflow.get_tracking_uri()} answers, but the place of its artifacts takes no file "
            f"({answer}); the server's log tells whether that is full or read-only, or was away for a moment."
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
