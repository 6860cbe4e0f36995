"""A server that refuses is quoted at once with what helps; one that is ill or away is waited for."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext

import mlflow
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from helpers.child import free_ports
from helpers.stores import PartAwayError, StoreError, StoreRefusalError
from helpers.stores.server import PROBE, ask_server, check_upload, needing
from helpers.stores.store import check_store, use_store
from helpers.surroundings import environment
from helpers.sweep import run_sweep
from tests.support.server import Proxy, running_server
from tests.support.work import SPLIT, trials


class Answers(http.server.ThreadingHTTPServer):
    """A server with one answer for everybody: a status, a text, and further headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answer: tuple[int, str, dict[str, str]] = (200, "{}", {})
        self.seconds = 0.0  # that an answer to a POST takes
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.seconds if self.command == "POST" else 0)
        status, text, headers = self.server.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = reply  # noqa: N815  http.server asks for these names


@pytest.fixture
def server() -> Iterator[Answers]:
    with Answers() as server:
        yield server
        server.shutdown()


def error(code: str, message: str) -> str:
    return f'{{"error_code": "{code}", "message": "{message}"}}'


REFUSALS = {
    "401": (
        (401, "who?", {}),
        r"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.*who\?",
    ),
    "401 of MLflow": ((401, error("UNAUTHENTICATED", "bad token"), {}), "MLFLOW_TRACKING_TOKEN.*bad token"),
    "403": ((403, "no", {}), "does not let this user in: ask for the right"),
    "403 of MLflow": ((403, error("PERMISSION_DENIED", "no"), {}), "does not let this user in: ask for the right"),
    "a foreign name": ((403, "Invalid Host header", {}), "--allowed-hosts"),
    "404": ((404, "<html>Not here</html>", {}), "no MLflow server, or lies under another path: .* 'Not here'"),
    "404 of MLflow": ((404, error("ENDPOINT_NOT_FOUND", "no"), {}), "no MLflow server, or lies under another path"),
    "a proxy": ((407, "", {}), "proxy: add its host to NO_PROXY"),
    "upgrade required": (
        (426, "Upgrade Required", {}),
        f"another version of the client, which is mlflow {mlflow.__version__}",
    ),
    "a sign-in page": ((200, "<html>Sign in</html>", {}), "a page instead of data, as a sign-in page.*'Sign in'"),
    "a redirect to one": ((302, "", {"Location": "/login"}), "a page instead of data, as a sign-in page"),
    "a workspace": ((400, error("INVALID_PARAMETER_VALUE", "Workspace x unknown"), {}), "MLFLOW_WORKSPACE"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_server_that_refuses_is_quoted_at_once_with_what_helps(server, case):
    server.answer, sentence = REFUSALS[case]
    for ask in (lambda: use_store(server.url), lambda: check_store(patience=30)):
        start = time.monotonic()
        with pytest.raises(StoreRefusalError, match=rf"^The store {server.url} [^\n]*{sentence}[^\n]*\.$"):
            ask()
        assert time.monotonic() - start < 10, "it waited for what waiting cannot heal"


@pytest.mark.parametrize(
    ("error", "is_forbidden"),
    [
        (mlflow.MlflowException("API request failed with error code 403 != 200. Response body: 'no'"), True),
        (OSError("403 Client Error: Forbidden for url: http://there/api"), True),
        (mlflow.MlflowException("API request failed with error code 404 != 200. Response body: 'no'"), False),
        (OSError("500 Server Error: http://there/4034"), False),
    ],
)
def test_only_what_is_forbidden_is_told_as_a_lack_of_a_right(error, is_forbidden, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    with pytest.raises(StoreRefusalError if is_forbidden else type(error)) as raised, needing("EDIT on the model x"):
        raise error
    assert ("does not let ann do this, which takes EDIT on the model x" in str(raised.value)) == is_forbidden


def test_a_refusal_in_the_midst_of_a_sweep_ends_it_at_once(store, server, monkeypatch):
    """As when a password expires."""
    server.answer = (401, "expired", {})

    def train(*arguments, **more):
        mlflow.set_tracking_uri(server.url)
        mlflow.search_experiments()

    monkeypatch.setattr("helpers.models.keras.train", train)
    start = time.monotonic()
    with pytest.raises(StoreRefusalError, match=r"MLFLOW_TRACKING_TOKEN.*expired"):
        run_sweep(trials()[:1], SPLIT)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_ill_is_quoted_and_waited_for(server, status):
    server.answer = (status, "ill", {})
    with pytest.raises(StoreError, match=f"answers with error {status}; see its log, or wait") as raised:
        use_store(server.url)
    assert not isinstance(raised.value, StoreRefusalError)
    start = time.monotonic()
    with pytest.raises(StoreError):
        check_store(patience=2)
    assert time.monotonic() - start >= 2


THE_DATABASE_IS_AWAY = "(psycopg.OperationalError) connection failed: Connection refused"
DATABASE_FAULTS = {
    THE_DATABASE_IS_AWAY: "it says 'Connection refused'.*: see the server's log",
    "(psycopg.OperationalError) connection to server at x, port 1 failed: FATAL:  password authentication failed": (
        "it says 'FATAL: password authentication failed'.*: renew the password"
    ),
    "(pymysql.err.OperationalError) (1045, 'Access denied for user')": "Access denied for user.*: renew the password",
    "(pymysql.err.OperationalError) (1040, 'Too many connections')": "Too many connections.*: close some",
}


@pytest.mark.parametrize("status", [400, 500, 503])
@pytest.mark.parametrize("said", DATABASE_FAULTS)
def test_the_database_behind_a_server_is_named_and_quoted(server, status, said):
    said_in_full = f"{said}\\n(Background on this error at: https://sqlalche.me/e/21/e3q8)"
    server.answer = (status, error("TEMPORARILY_UNAVAILABLE", said_in_full), {})
    sentence = "answers, but the database behind it does not let it work"
    with pytest.raises(
        StoreError, match=rf"^The store {server.url} {sentence} [^\n]*{DATABASE_FAULTS[said]}"
    ) as raised:
        use_store(server.url)
    is_away = said == THE_DATABASE_IS_AWAY
    assert type(raised.value) is (PartAwayError if is_away else StoreError)
    start = time.monotonic()
    with pytest.raises(StoreError):
        check_store(patience=0, behind=4)
    assert (time.monotonic() - start >= 4) == is_away


def test_a_server_that_waits_for_its_database_is_told_from_one_that_is_away(server, monkeypatch):
    """As MLflow's does for 100 s, when it asks a database for the first time that lets nobody in."""
    monkeypatch.setitem(PROBE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    server.seconds = 3
    with pytest.raises(StoreError, match="is up, but does not answer what it has to ask the database behind it"):
        use_store(server.url)


@pytest.mark.parametrize(
    ("raised", "kind", "sentence"),
    [
        (ConnectionError("cut"), StoreError, "does not answer; start its server"),
        (KeyError("tenant"), StoreRefusalError, r"cannot be used \(it says \"'tenant'\"\)"),
    ],
)
def test_what_a_services_plugin_raises_is_a_sentence_and_a_fault_of_the_network_no_refusal(
    store, monkeypatch, raised, kind, sentence
):
    def ask(**_: object) -> None:
        raise raised

    monkeypatch.setattr("mlflow.search_experiments", ask)
    with pytest.raises(StoreError, match=sentence) as said:
        ask_server()
    assert type(said.value) is kind


def test_a_slow_server_is_not_taken_for_a_dead_one(server):
    server.seconds = 5
    mlflow.set_tracking_uri(server.url)
    check_store(patience=0)


def test_a_server_that_has_lost_its_artifacts_is_told_from_one_that_is_away(tmp_path):
    with running_server(tmp_path) as behind:
        proxy = Proxy(behind)
        use_store(proxy.url)
        check_store(patience=0)
        proxy.unknown = "/mlflow-artifacts/"
        with pytest.raises(StoreError, match="answers, but the place of its artifacts does not"):
            check_store(patience=0)


@pytest.mark.parametrize(
    ("status", "call", "is_named"),
    [
        (500, "log_artifact", True),
        (507, "log_artifact", True),
        (429, "log_artifact", False),
        (403, "log_artifact", False),
        (500, "download_artifacts", False),
    ],
)
def test_only_an_upload_that_a_server_could_not_keep_is_told_as_one(server, tmp_path, status, call, is_named):
    server.answer = (status, "ill", {})
    mlflow.set_tracking_uri(server.url)
    (tmp_path / "file").touch()
    named = f"^The store {server.url} answers, but the place of its artifacts takes no file .error {status}."
    with environment(PROBE), pytest.raises((mlflow.MlflowException, OSError)) as raised:
        getattr(get_artifact_repository("mlflow-artifacts:/1"), call)(str(tmp_path / "file"))
    with pytest.raises(StoreError, match=named) if is_named else nullcontext():
        check_upload(raised.value)


def test_an_upload_whose_connection_is_cut_is_told_as_one_too(tmp_path):
    """As a server does that gives up before it has read the file."""
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_ports(1)[0]}")
    (tmp_path / "file").touch()
    with environment(PROBE), pytest.raises((mlflow.MlflowException, OSError)) as raised:
        get_artifact_repository("mlflow-artifacts:/1").log_artifact(str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"takes no file \(the connection was cut\); the server's log"):
        check_upload(raised.value)


def test_the_wrong_scheme_is_said_to_be_one(server):
    with pytest.raises(StoreRefusalError, match="begin STORE with http:// or https://"):
        use_store(server.url.replace("http", "https"))


@pytest.mark.parametrize("host", ["proxy", "workspace-credentials", "ssl"])
def test_a_word_in_its_address_is_no_reason(host):
    with pytest.raises(StoreError, match="does not answer; start its server") as raised:
        use_store(f"http://{host}.invalid:1/workspace")
    assert not isinstance(raised.value, StoreRefusalError)


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(StoreRefusalError, match="cannot be reached through the proxy: add its host to NO_PROXY"):
        use_store("http://mlflow.example:5000")
