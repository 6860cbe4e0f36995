"""Promotions that are killed at each stage, and several at once."""

import signal
import subprocess
import sys

import pytest

from helpers import promotion
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.trials import product_name
from tests.conftest import ROOT
from tests.support.moves import STAGES, pointed, product


@pytest.fixture
def store(store) -> str:
    product()
    Client().set_registered_model_alias(product_name(), "champion", "1")
    promotion.record_by_hand()
    return str(store)


def start(store: str, number: int, *stage: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.support.moves", store, str(number), *stage]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, cwd=ROOT, **pipes, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


@pytest.mark.parametrize("stage", STAGES)
def test_a_promotion_that_is_killed_is_finished_by_the_next_call(store, stage):
    process = start(store, 2, stage)
    process.communicate("go\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    use_store(store)
    assert pointed()["champion"] in ("1", "2")
    assert promotion.moved_by_hand() == ""
    promotion.promote(product()[1], product()[0], "forced", "a test")
    assert pointed() == {"champion": "2", "previous": "1"}
    record = promotion.history()
    assert record["to"].tolist() == ["1", "2"]
    assert record["from"].tolist() == ["", "1"]


def test_of_several_promotions_at_once_one_takes_the_champions_place(store):
    processes = [start(store, number) for number in (2, 3, 2, 3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in processes]
    use_store(store)
    record = promotion.history()
    assert record["how"].tolist() == ["by hand", "forced"]
    winner = record["to"].iloc[-1]
    assert pointed() == {"champion": winner, "previous": "1"}
    assert sum(output == "True\n" for output, _ in ends) == 1
    for output, errors in ends:  # the others found it done, or somebody else there
        assert output or f"The champion is version {winner} by now and not 1" in errors
