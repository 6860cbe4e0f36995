"""A served model under load: replaced, killed, and left by whoever started it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import numpy as np
import psutil
import pytest
import requests
from jupyter_client import BlockingKernelClient, KernelManager

from helpers.serving import Service
from tests.conftest import ROOT
from tests.support.served import GAMES, ask_until, one_game, two_models

CLIENTS = 8


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return two_models(tmp_path_factory.mktemp("served"))


def test_a_server_is_replaced_under_load_without_a_lost_or_a_wrong_answer(models):
    """All the while that the new one starts and takes over, eight clients ask; then it is asked alone."""
    (one, before), (other, after) = models
    with Service() as service, ThreadPoolExecutor(CLIENTS) as clients:
        service.serve(one)
        enough = Event()
        at_work = [clients.submit(ask_until, enough, service.url, 10 * client) for client in range(CLIENTS)]
        try:
            service.serve(other)
            time.sleep(2)
        finally:
            enough.set()
        answers = [answer for client in at_work for answer in client.result()]
        alone = list(clients.map(lambda i: one_game(service.url, i % len(GAMES)), range(1000)))
    old, new = (np.array([abs(answer - model[row]) < 1e-9 for row, answer in answers]) for model in (before, after))
    assert (old ^ new).all()  # each is one model's or the other's
    assert old.sum() > 50
    assert new.sum() > 20
    assert all(abs(answer - after[row]) < 1e-9 for row, answer in alone)


def test_after_a_kill_and_a_new_start_the_answers_are_the_same(models):
    folder, expected = models[0]
    with Service() as service, ThreadPoolExecutor(CLIENTS) as clients:
        service.serve(folder)
        psutil.Process(service.process_id).kill()
        asked = [clients.submit(one_game, service.url, i % len(GAMES)) for i in range(100)]  # they wait at the address
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


def test_nothing_is_left_when_a_notebooks_kernel_is_killed_between_two_cells(models):
    kernel, said = KernelManager(), []
    kernel.start_kernel(cwd=ROOT)
    with closing_channels(kernel) as client:
        for cell in (
            "from pathlib import Path; from helpers.serving import Service; service = Service()",
            f"service.serve(Path({str(models[0][0])!r}))",
            "print(service.url, service.process_id)",
        ):
            client.execute_interactive(cell, timeout=120, output_hook=lambda message: said.append(message["content"]))
        url, number = "".join(one.get("text", "") for one in said).split()
        server = psutil.Process(int(number))
        assert requests.get(f"{url}/health", timeout=10).status_code == 200
        psutil.Process(kernel.provisioner.pid).kill()
        server.wait(timeout=30)
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{url}/health", timeout=5)
    kernel.shutdown_kernel(now=True)


@contextmanager
def closing_channels(kernel: KernelManager) -> Iterator[BlockingKernelClient]:
    client = kernel.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
