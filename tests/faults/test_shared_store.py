"""A team's store whose server, PostgreSQL or S3 is killed while eight people's sweeps run, and comes back."""

import time

import pytest

from helpers.team import TeamServer
from helpers.tools.share import postgresql, s3
from tests.support.process import start
from tests.support.server import Proxy
from tests.support.team import kill, open_folder, parts_are_missing
from tests.support.work import whole

pytestmark = parts_are_missing


@pytest.mark.parametrize("part", ["server", "database", "objects"])
def test_a_part_that_is_killed_and_comes_back_loses_and_doubles_nothing(part):
    with open_folder() as folder, postgresql(folder) as database, s3(folder) as objects:
        place = {"database": database.address, "artifacts": objects.address, "more": objects.environment}
        with TeamServer(folder, **place) as server, TeamServer(folder / "standby", **place) as standby:
            proxy = Proxy(server)
            sweeps = [start(proxy.url, "nine") for _ in range(8)]
            assert ": trained" in sweeps[0].readline()
            kill({"server": server, "database": database, "objects": objects}[part].child)
            time.sleep(3 if part == "server" else 25)  # with the start of the part about half a minute
            proxy.server_port_behind = standby.port  # running already: a start takes as long as a busy machine likes
            if part != "server":
                {"database": database, "objects": objects}[part].child.start()
            for sweep in sweeps:
                output, errors = sweep.communicate(timeout=200)
                assert (sweep.returncode, errors) == (0, ""), output + errors
            whole(proxy.url)
