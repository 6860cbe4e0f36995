"""A served model under load: replaced, killed, and left by whoever started it."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import requests

from helpers.serving import Service
from tests.conftest import ROOT
from tests.support.served import ask_about_many, two_models

CLIENTS = 8


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return two_models(tmp_path_factory.mktemp("served"))


def test_a_server_is_replaced_under_load_without_a_lost_or_a_wrong_answer(models):
    (one, before), (other, after) = models
    with Service() as service, ThreadPoolExecutor(CLIENTS) as clients:
        service.serve(one)
        asked = ask_about_many(clients, service.url, 1000)
        while sum(request.done() for request in asked) < 100:
            time.sleep(0.01)
        service.serve(other)
        at_the_change = sum(request.done() for request in asked)
        asked += ask_about_many(clients, service.url, 1000)
        answers = [request.result() for request in asked]
    assert at_the_change > 100
    old = [abs(answer - before[row]) < 1e-9 for row, answer in answers]
    new = [abs(answer - after[row]) < 1e-9 for row, answer in answers]
    assert np.array_equal(old, ~np.array(new))  # each is one champion's or the other's
    assert 100 <= sum(old) < len(answers)
    assert all(new[1000:])


def test_after_a_kill_and_a_new_start_the_answers_are_the_same(models):
    folder, expected = models[0]
    with Service() as service, ThreadPoolExecutor(CLIENTS) as clients:
        service.serve(folder)
        psutil.Process(service.process_id).kill()
        asked = ask_about_many(clients, service.url, 100)  # they wait at the address, which is ours
        service.serve(folder)
        assert all(abs(answer - expected[row]) < 1e-9 for row, answer in (request.result() for request in asked))


def test_nothing_is_left_when_whoever_started_it_is_killed(models):
    command = [sys.executable, "-m", "tests.support.served", str(models[0][0])]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url, number = process.stdout.readline().split()
    server = psutil.Process(int(number))
    assert requests.get(f"{url}/health", timeout=10).status_code == 200
    process.kill()
    process.wait()
    server.wait(timeout=30)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)
    process.stdin.close()
    process.stdout.close()
