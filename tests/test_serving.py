"""A model behind MLflow's scoring server: its answers are those of the process, its refusals are JSON, and it ends."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from helpers.serving import Service
from tests.support.served import COLUMNS, GAMES, ask, two_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return two_models(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def service(models):
    with Service() as running:
        running.serve(models[0][0])
        yield running


def test_it_listens_on_this_machine_alone(service):
    (own,) = {c.laddr.ip for c in psutil.Process(service.process_id).net_connections() if c.status == "LISTEN"}
    assert own == "127.0.0.1"
    assert requests.get(f"{service.url}/health", timeout=10).status_code == 200


@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS[::-1]], ids=["in order", "turned"])
def test_it_answers_as_the_model_does_here(service, models, columns):
    reply = ask(service.url, GAMES[columns])
    answers = [row["0"] for row in reply.json()["predictions"]]
    assert np.abs(np.array(answers) - models[0][1]).max() < 1e-9


def test_no_row_is_no_answer(service):
    assert ask(service.url, GAMES.head(0)).json() == {"predictions": []}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 1e39], ids=str)
def test_a_value_that_is_no_number_is_refused_in_json_with_a_sentence(service, value):
    table = GAMES.head(2).astype(object)
    table.iloc[1, 2] = value
    reply = ask(service.url, table)
    assert reply.status_code == 400
    said = json.loads(reply.text, parse_constant=pytest.fail)["message"]
    assert said.endswith(f"Only finite numbers can be used, and something else is in {COLUMNS[2]} (1 of 2 rows).")


def test_a_missing_column_and_a_word_are_refused_by_the_signature(service):
    missing = ask(service.url, GAMES.head(1).drop(columns=COLUMNS[0]))
    word = ask(service.url, GAMES.head(1).astype(object).assign(**{COLUMNS[0]: "twelve"}))
    assert (missing.status_code, word.status_code) == (400, 400)
    assert COLUMNS[0] in missing.json()["message"]
    assert COLUMNS[0] in word.json()["message"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [("[]", "application/json", 400), ("x" * 10_000_000, "application/json", 400), ("1,2", "text/plain", 415)],
    ids=["an empty list", "10 MB of junk", "another content type"],
)
def test_what_is_no_table_is_refused_and_the_server_goes_on(service, body, kind, status):
    address = f"{service.url}/invocations"
    assert requests.post(address, data=body, headers={"Content-Type": kind}, timeout=60).status_code == status
    assert ask(service.url, GAMES.head(1)).status_code == 200


def test_a_model_that_does_not_load_is_named_and_the_one_before_stays(service, models, tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {}")
    before = service.process_id
    with pytest.raises(RuntimeError, match=r"(?s)^The model's server did not come up; it said: .*python_function"):
        service.serve(tmp_path)
    assert service.process_id == before
    assert ask(service.url, GAMES.head(1)).status_code == 200


def test_nothing_is_left_of_it(models):
    with Service() as service:
        service.serve(Path(models[0][0]))
        process, url = psutil.Process(service.process_id), service.url
        assert ask(url, GAMES.head(1)).status_code == 200
    assert not process.is_running()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)
