"""A team's server: what is kept by it, what it says when it cannot start, and that nothing of it is left."""

import socket
import subprocess
import sys
import urllib.request

import psutil
import pytest
import requests

from helpers.team import TeamServer
from tests.conftest import ROOT
from tests.support.team import left_in, use


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("a team's")


def test_what_is_registered_by_it_loads_and_is_there_when_it_starts_again(folder, tmp_path, environment):
    environment.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    environment.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://127.0.0.1:1/elsewhere")
    environment.setenv("MLFLOW_ARTIFACTS_ONLY", "true")
    environment.setenv("http_proxy", "http://127.0.0.1:9")
    environment.delenv("NO_PROXY", raising=False)
    environment.delenv("no_proxy", raising=False)
    environment.setattr(urllib.request, "_opener", None)  # one for the whole process, with the proxies of its first use
    for again in ("first", "second"):
        with TeamServer(folder) as server:
            use(server.url, tmp_path / again)
            listening = [c.laddr for c in psutil.net_connections() if c.status == "LISTEN"]
            assert {address.ip for address in listening if address.port == server.port} == {"127.0.0.1"}
    assert left_in(folder) == []
    assert any((folder / "artifacts").rglob("MLmodel"))


def test_the_workers_run_uvloop(tmp_path):
    """Under asyncio's own loop, and with several workers, each answer on a kept connection waits 40 ms."""
    with TeamServer(tmp_path) as server:
        processes = psutil.Process(server.child.process.pid).children(recursive=True)
        loops = [any("/uvloop/" in part.path for part in process.memory_maps()) for process in processes]
    assert sum(loops) == 2  # of several workers alone: who starts them runs none


def test_a_database_that_lets_nobody_in_is_named_without_its_password(tmp_path):
    address = f"sqlite:///{tmp_path}/gone/x.db"
    with pytest.raises(RuntimeError, match=r"^The database .*/gone/x.db cannot be used; .*unable to open"):
        TeamServer(tmp_path, address).start()
    with pytest.raises(RuntimeError, match=r"^The database nothing://ann:\*\*\*@there/x cannot be used; .*nothing"):
        TeamServer(tmp_path, "nothing://ann:secret@there/x").start()


def test_what_the_server_says_is_told_when_it_does_not_come_up(tmp_path):
    with pytest.raises(RuntimeError, match=r"^The mlflow server did not come up; it said: .*no-such-app"):
        TeamServer(tmp_path, app="no-such-app").start()
    assert left_in(tmp_path) == []


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"^Port {port} of this machine cannot be used .*; choose another"):
            TeamServer(tmp_path, port=port).start()


def test_a_kill_of_its_owner_leaves_no_process_and_no_port(tmp_path):
    command = [sys.executable, "-m", "tests.support.team", str(tmp_path)]
    owner = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = owner.stdout.readline().strip()
    assert requests.get(f"{url}/health", timeout=10).status_code == 200
    owner.kill()
    owner.communicate()
    assert left_in(tmp_path) == []
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)
