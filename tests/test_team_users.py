"""Users of a server: who reads, who registers, who promotes, what each is told otherwise, and whose work is whose."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from helpers import promotion, registry
from helpers.registry import find_version
from helpers.stores import StoreRefusalError
from helpers.stores.hosted import Client
from helpers.stores.store import use_store
from helpers.surroundings import environment
from helpers.sweep import run_sweep, run_trial
from helpers.team_users import as_admin, as_user, make_roles, make_user, prepare_users, users_of
from helpers.trials import PROMOTIONS, experiment_name, experiment_names, model_name, product_name
from tests.support.server import running_server
from tests.support.work import SPLIT, trials

FIRST, SECOND, THIRD = trials(seeds=1)[:3]
ROLES = {"rita": "reader", "emil": "engineer", "lena": "lead"}


@dataclass
class Team:
    url: str
    users: Path
    people: dict[str, dict[str, str]]

    @contextmanager
    def seen_by(self, name: str) -> Iterator[None]:
        """The store, in use by one of them."""
        with environment(self.people[name]):
            use_store(self.url)
            yield


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A server with a user for each role, and a champion that the lead trained.

    Around all of it, what a process is told that works in a workspace of a company's server, or runs that.
    """
    folder = tmp_path_factory.mktemp("team")
    company = {"MLFLOW_WORKSPACE": "games", "MLFLOW_AUTH_CONFIG_PATH": "/nowhere"}
    with running_server(folder, users=folder / "users") as server, environment(company):
        team = Team(server.url, folder / "users", {"admin": as_admin(folder / "users")})
        with team.seen_by("admin"):
            basic_auth = users_of(server.url)
            roles = make_roles(basic_auth)
            assert make_roles(basic_auth) == roles
            team.people |= {name: make_user(basic_auth, name, roles[role]) for name, role in ROLES.items()}
        with team.seen_by("lena"):
            promotion.promote(copied(run_trial(FIRST, SPLIT)), None, "gate", "the first")
        yield team


def copied(version):
    return Client().copy_model_version(f"models:/{version.name}/{version.version}", product_name())


def refusal(team: Team, name: str, right: str) -> object:
    sentence = f"The store {team.url} does not let {name} do this, which takes {right}[^\n]*: ask its admin for it\\."
    return pytest.raises(StoreRefusalError, match=f"^{sentence}$")


def test_a_reader_loads_the_champion_and_finds_what_was_trained(team):
    with team.seen_by("rita"):
        champion = mlflow.pyfunc.load_model(f"models:/{product_name()}@champion")
        assert len(champion.predict(SPLIT.validation)) == len(SPLIT.validation)
        assert len(registry.load(registry.champion(FIRST.data)).predict(SPLIT.validation)) == len(SPLIT.validation)
        assert run_sweep([FIRST], SPLIT)["outcome"].tolist() == ["found"]


def test_a_reader_is_refused_a_run_a_version_and_the_promotion(team):
    with team.seen_by("rita"):
        first = find_version(FIRST.model, FIRST.key)
        with refusal(team, "rita", f"EDIT on the experiment {SECOND.experiment}"):
            run_sweep([SECOND, THIRD], SPLIT)
        with refusal(team, "rita", f"EDIT on the registered model {FIRST.model}"):
            registry.register(first.source, FIRST.model, first.tags)
        with refusal(team, "rita", f"EDIT on the registered model {product_name()}"):
            copied(first)
        with refusal(team, "rita", f"EDIT on the experiment {experiment_name(PROMOTIONS)}"):
            promotion.promote(promotion.holder("champion"), None, "gate", "mine")


def test_a_reader_is_refused_by_the_workers_of_a_sweep_too(team):
    with team.seen_by("rita"), refusal(team, "rita", f"EDIT on the experiment {SECOND.experiment}"):
        run_sweep([SECOND, THIRD], SPLIT, n_jobs=2)


def test_an_engineer_registers_a_candidate_which_a_lead_promotes(team):
    with team.seen_by("emil"):
        assert run_sweep([SECOND], SPLIT)["outcome"].tolist() == ["trained"]
        second = find_version(SECOND.model, SECOND.key)
        with refusal(team, "emil", f"EDIT on the registered model {product_name()}"):
            copied(second)
        with refusal(team, "emil", f"EDIT on the registered model {product_name()}"):
            Client().set_registered_model_alias(product_name(), "champion", "1")
        with refusal(team, "emil", f"EDIT on the experiment {experiment_name(PROMOTIONS)}"):
            promotion.roll_back(promotion.holder("champion"), "mine is better")
    with team.seen_by("lena"):
        assert promotion.promote(copied(second), promotion.holder("champion"), "gate", "better")
        assert promotion.history()["by"].tolist() == ["lena", "lena"]
        assert registry.run_of(promotion.holder("champion")).data.tags["mlflow.user"] == "emil"
        assert registry.run_of(promotion.holder("previous")).data.tags["mlflow.user"] == "lena"


def test_nobody_comes_to_manage_a_model_of_ours_by_making_it_first(team):
    with team.seen_by("rita"), pytest.raises(mlflow.MlflowException, match="already exists"):
        Client().create_registered_model(model_name("torch"))


def test_a_user_without_a_role_sees_nothing_and_is_told_what_it_takes(team):
    with environment(team.people["admin"]):
        users_of(team.url).create_user("nobody", "of any account")
    team.people["nobody"] = as_user("nobody", "of any account")
    with refusal(team, "nobody", f"READ on the experiment {experiment_names()[0]}"), team.seen_by("nobody"):
        pass
    with environment(team.people["nobody"]):
        assert mlflow.search_registered_models() == []


def test_who_may_read_the_product_alone_is_told_that_its_files_belong_to_an_experiment(team):
    with team.seen_by("admin"):
        basic_auth, champion = users_of(team.url), promotion.holder("champion")
        basic_auth.create_user("guest", "of the product")
        basic_auth.grant_user_permission("guest", "registered_model", product_name(), "READ")
    with environment(as_user("guest", "of the product")):
        with refusal(team, "guest", "READ on the experiment of its run"):
            registry.champion(FIRST.data)
        with refusal(team, "guest", "READ on the experiment that it was trained in"):
            registry.load(champion)


@pytest.mark.parametrize("variables", [{}, as_user("rita", "a wrong password")])
def test_who_is_not_known_is_told_what_to_set(team, variables):
    nobody = dict.fromkeys(as_user("", ""))
    with (
        environment(nobody | variables),
        pytest.raises(StoreRefusalError, match=f"^The store {team.url} wants to know who you are: set MLFLOW_TRACKING"),
    ):
        use_store(team.url)


def test_a_user_made_again_has_another_password_and_one_role(team):
    with environment(team.people["admin"]):
        basic_auth = users_of(team.url)
        roles = {role.name: role.id for role in basic_auth.list_roles("default")}
        before = make_user(basic_auth, "tom", roles["lead"])
        after = make_user(basic_auth, "tom", roles["reader"])
        assert [role.name for role in basic_auth.list_user_roles("tom")] == ["reader"]
    for variables, is_known in ((before, False), (after, True)):
        with environment(variables):
            if is_known:
                use_store(team.url)
            else:
                with pytest.raises(StoreRefusalError, match="wants to know who you are"):
                    use_store(team.url)


def test_a_password_is_not_compared_with_its_hash_at_each_request(team):
    with team.seen_by("emil"), closing(sqlite3.connect(team.users / "users.db")) as database, database:
        [kept] = database.execute("SELECT password_hash FROM users WHERE username = 'emil'").fetchone()
        database.execute("UPDATE users SET password_hash = 'spoilt' WHERE username = 'emil'")
        database.commit()
        mlflow.search_experiments()
        database.execute("UPDATE users SET password_hash = ? WHERE username = 'emil'", [kept])


def test_the_admins_password_is_made_once_and_for_its_owner_alone(tmp_path):
    first, second = prepare_users(tmp_path / "users"), prepare_users(tmp_path / "users")
    assert first["MLFLOW_AUTH_ADMIN_PASSWORD"] == second["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert as_admin(tmp_path / "users")["MLFLOW_TRACKING_PASSWORD"] == first["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "users" / "admin_password").stat().st_mode & 0o777 == 0o600
    assert prepare_users(tmp_path / "others")["MLFLOW_AUTH_ADMIN_PASSWORD"] != first["MLFLOW_AUTH_ADMIN_PASSWORD"]
