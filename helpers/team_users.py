"""Users of a team's server: the files that MLflow's basic-auth wants, the admin, and who reads, registers, promotes."""

from __future__ import annotations

import secrets
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.surroundings import environment
from helpers.trials import PROMOTIONS, experiment_name, experiment_names, model_names, product_name

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient

ADMIN = "admin"
WORKSPACE = "default"  # where a server keeps everything that was not started with workspaces
EXPERIMENT, MODEL = "experiment", "registered_model"  # what MLflow calls them where it grants rights
# Comparing a password with its hash takes 100 ms, by design, and MLflow does so three to six times a request, unless it
# remembers for some seconds what it has verified. A changed password lives on as long in a server's other workers.
CONFIG = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{database}
auth_cache_ttl_seconds = 60
"""


def prepare_users(folder: Path) -> dict[str, str]:
    """The environment of a server with users, started with --app-name basic-auth; its files go into a folder of theirs.

    They are the server's settings, its users with their passwords' hashes, and the admin's password, which is made by
    chance the first time and which nobody but the folder's owner can read. The server wants the package Flask-WTF.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = folder / "admin_password"
    if not password.exists():
        write_secret(password, secrets.token_urlsafe(16))
    settings = folder / "users.ini"
    settings.write_text(CONFIG.format(database=folder.resolve() / "users.db"))
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings.resolve()),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password.read_text(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }


def write_secret(file: Path, text: str) -> None:
    """Write a file that nobody but its owner can read, whole or not at all."""
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.rename(file)


def as_admin(folder: Path) -> dict[str, str]:
    """The variables that make a process the admin of the server whose users are kept in a folder."""
    return as_user(ADMIN, (folder / "admin_password").read_text())


def as_user(name: str, password: str) -> dict[str, str]:
    """The variables that make a process a user of a server; MLflow reads them again at each request.

    A workspace, which would be one of another server, is left out: prepare_users makes a server without.
    """
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password, "MLFLOW_WORKSPACE": ""}


def users_of(url: str) -> AuthServiceClient:
    """MLflow's own client for a server's users and their rights, at the server's address. It wants Flask-WTF, too.

    Raises RuntimeError where this MLflow knows no roles yet.
    """
    # Its import brings the server, which warns of its own parts, and reads what a server in this shell is set up with.
    with warnings.catch_warnings(action="ignore"), environment({"MLFLOW_AUTH_CONFIG_PATH": None}):
        from mlflow.server import get_app_client

        server = get_app_client("basic-auth", url)
    if not hasattr(server, "create_role"):
        import mlflow

        raise RuntimeError(
            f"MLflow {mlflow.__version__} has no roles for a server's users: install 3.17 or a newer one."
        )
    return server


def rights(role: str) -> set[tuple[str, str, str]]:
    """What a reader, an engineer or a lead may do in the store in use: kinds of things, which of them, MLflow's right.

    Each reads everything: a model's files belong to the experiment that it was trained in, not to the registered model.
    An engineer manages the candidates, and a lead also the product and the record of its champions. EDIT would not do:
    it deletes nothing, neither a run that gave way to another nor a version that was registered twice.
    """
    import mlflow

    managed = {
        "reader": ([], []),
        "engineer": (experiment_names(), model_names()),
        "lead": ([*experiment_names(), experiment_name(PROMOTIONS)], [*model_names(), product_name()]),
    }
    experiments, models = managed[role]
    ids = [mlflow.get_experiment_by_name(name).experiment_id for name in experiments]
    return (
        {(kind, "*", "READ") for kind in (EXPERIMENT, MODEL)}
        | {(EXPERIMENT, experiment, "MANAGE") for experiment in ids}
        | {(MODEL, model, "MANAGE") for model in models}
    )


def make_roles(server: AuthServiceClient) -> dict[str, int]:
    """Make the roles reader, engineer and lead, with their rights in the store in use, and give back their ids.

    The admin calls it, after use_store: whoever makes an experiment or a registered model manages it, so these must all
    be there before the others come. What is there already stays.
    """
    _make_models()
    ids = {role.name: role.id for role in server.list_roles(WORKSPACE)}
    for name in ("reader", "engineer", "lead"):
        if name not in ids:
            ids[name] = server.create_role(WORKSPACE, name).id
        kept = server.list_role_permissions(ids[name])
        for right in rights(name) - {(one.resource_type, one.resource_pattern, one.permission) for one in kept}:
            server.add_role_permission(ids[name], *right)
    return ids


def _make_models() -> None:
    import mlflow

    client = mlflow.MlflowClient()
    there = {model.name for model in client.search_registered_models(max_results=1000)}
    for name in {*model_names(), product_name()} - there:
        client.create_registered_model(name)


def make_user(server: AuthServiceClient, name: str, role: int) -> dict[str, str]:
    """Make a user with a role and a random password, and give back the variables that make a process this user.

    One who is there already gets a new password, and this role alone.
    """
    import mlflow

    password = secrets.token_urlsafe(16)
    try:
        server.create_user(name, password)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        server.update_user_password(name, password)
        for former in server.list_user_roles(name):
            server.unassign_role(name, former.id)
    server.assign_role(name, role)
    return as_user(name, password)


if __name__ == "__main__":  # the environment of a server, as lines for a shell
    for variable, value in prepare_users(Path(sys.argv[1])).items():
        print(f"{variable}={shlex.quote(value)}")
