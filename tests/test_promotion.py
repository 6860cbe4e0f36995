"""Moving the champion: both aliases, the record of every move, and what somebody did by hand."""

import platform
import time
from datetime import UTC, datetime

import mlflow
import psutil
import pytest

from helpers import promotion
from helpers.stores.hosted import Client
from helpers.trials import experiment_name, product_name
from tests.support.moves import pointed, product


@pytest.fixture
def versions(store):
    """Three versions of the product, the first of them champion by hand and recorded as such."""
    three = product()
    Client().set_registered_model_alias(product_name(), "champion", "1")
    promotion.record_by_hand()
    return three


def moves() -> list[tuple[str, str, str]]:
    return list(promotion.history()[["from", "to", "how"]].itertuples(index=False, name=None))


def test_a_store_without_a_champion_has_no_history(store):
    assert promotion.history().empty
    assert promotion.champion_at(datetime.now(UTC)) is None
    assert promotion.moved_by_hand() == promotion.record_by_hand() == promotion.deleted() == ""
    assert promotion.holder("champion") is None


def test_a_promotion_moves_both_aliases_and_leaves_a_record(versions):
    reason = "better, and nobody said a word"
    assert promotion.promote(versions[1], versions[0], "gate", reason, {"difference": -0.01, "high": -0.001})
    assert pointed() == {"champion": "2", "previous": "1"}
    last = promotion.history().iloc[-1]
    assert dict(last[["from", "to", "how", "reason", "model", "trial", "digest", "data"]]) == {
        "from": "1",
        "to": "2",
        "how": "gate",
        "reason": reason,
        "model": "linear C 2",
        "trial": "t2",
        "digest": "d2",
        "data": "made-up",
    }
    assert (last["difference"], last["high"]) == (-0.01, -0.001)
    assert last["by"]


def test_the_claim_of_a_process_that_comes_meanwhile_is_left_to_it(versions, monkeypatch):
    client, honest, others = mlflow.MlflowClient(), promotion._runs, []
    home, other = mlflow.get_experiment_by_name(experiment_name("promotions")), psutil.Process().parent()
    owner = f"{platform.node()} {other.pid} {other.create_time():.0f}"

    def another_comes(query):
        if not others:
            tags = {"trial": "champion", "owner": owner, "heartbeat": "1"}
            others.append(client.create_run(home.experiment_id, tags=tags).info.run_id)
        return honest(query)

    monkeypatch.setattr(promotion, "_runs", another_comes)
    assert promotion.promote(versions[1], versions[0], "forced", "a test")
    assert client.get_run(others[0]).info.status == "RUNNING"


def test_a_move_by_hand_that_nobody_came_to_write_down_stands_for_nothing(versions):
    client, home = mlflow.MlflowClient(), mlflow.get_experiment_by_name(experiment_name("promotions"))
    run_id = client.create_run(home.experiment_id).info.run_id
    promotion.promote(versions[1], versions[0], "forced", "a test")
    assert client.get_run(run_id).info.status == "KILLED"
    assert len(moves()) == 2


def test_promoting_twice_changes_nothing(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    before = pointed(), moves()
    assert not promotion.promote(versions[1], versions[0], "gate", "better")
    assert (pointed(), moves()) == before
    home = mlflow.get_experiment_by_name(experiment_name("promotions"))
    assert len(mlflow.search_runs([home.experiment_id])) == len(before[1])


def test_a_roll_back_is_one_call_and_two_people_who_make_it_make_it_once(versions):
    promotion.promote(versions[1], versions[0], "forced", "somebody insisted")
    assert promotion.roll_back(versions[1], "bad on the newest season")
    assert pointed() == {"champion": "1", "previous": "2"}
    assert not promotion.roll_back(versions[1], "bad on the newest season")
    assert pointed() == {"champion": "1", "previous": "2"}
    assert moves() == [("", "1", "by hand"), ("1", "2", "forced"), ("2", "1", "rolled back")]


def test_without_a_previous_champion_there_is_no_way_back(versions):
    with pytest.raises(LookupError, match="Nobody was champion of march-madness before version 1"):
        promotion.roll_back(versions[0], "bad")
    assert pointed() == {"champion": "1"}


def test_the_way_back_leads_to_whom_the_record_names_and_never_to_a_bad_one(versions):
    """Whatever the alias previous says: it holds the bad one after a roll-back, and knows nothing of moves by hand."""
    promotion.promote(versions[1], versions[0], "gate", "better")
    promotion.promote(versions[2], versions[1], "forced", "somebody insisted")
    promotion.roll_back(versions[2], "bad")
    promotion.roll_back(versions[1], "bad as well")
    assert pointed() == {"champion": "1", "previous": "2"}
    Client().set_registered_model_alias(product_name(), "champion", "3")
    promotion.roll_back(versions[2], "again")
    assert pointed() == {"champion": "1", "previous": "3"}


def test_what_was_rolled_back_and_promoted_again_may_be_gone_back_to(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    promotion.roll_back(versions[1], "a mistake")
    promotion.promote(versions[1], versions[0], "gate", "better after all")
    promotion.promote(versions[2], versions[1], "gate", "better")
    promotion.roll_back(versions[2], "bad")
    assert pointed() == {"champion": "2", "previous": "3"}


def test_the_way_back_passes_over_what_was_deleted(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    promotion.promote(versions[2], versions[1], "gate", "better")
    Client().delete_model_version(product_name(), "2")
    assert promotion.roll_back(versions[2], "bad")
    assert pointed()["champion"] == "1"


def test_a_challenger_that_was_compared_with_another_champion_is_not_promoted(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    with pytest.raises(RuntimeError, match="The champion is version 2 by now and not 1: compare with that one first"):
        promotion.promote(versions[2], versions[0], "gate", "better")
    assert pointed() == {"champion": "2", "previous": "1"}


def test_a_challenger_meets_the_champion_or_whom_it_met_when_it_came_in(versions):
    assert promotion.opponent(versions[1]).version == versions[0].version
    promotion.promote(versions[1], versions[0], "gate", "better")
    promotion.promote(versions[2], versions[1], "forced", "somebody insisted")
    promotion.roll_back(versions[2], "bad")
    assert promotion.opponent(versions[1]).version == versions[0].version
    assert promotion.opponent(versions[2]).version == versions[1].version
    Client().delete_model_version(product_name(), "1")
    assert promotion.opponent(versions[1]).version == versions[1].version


def test_a_move_that_failed_and_whose_version_was_deleted_blocks_nobody(versions, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_point", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promotion.promote(versions[1], versions[0], "gate", "better")
    Client().delete_model_version(product_name(), "2")
    assert promotion.promote(versions[2], versions[0], "gate", "better")
    assert moves() == [("", "1", "by hand"), ("1", "3", "gate")]


def test_a_champion_without_a_run_can_be_recorded_and_replaced(versions):
    client = Client()
    bare = client.create_model_version(product_name(), "runs:/0/model")
    client.set_registered_model_alias(product_name(), "champion", bare.version)
    assert promotion.promote(versions[1], bare, "gate", "better")
    assert moves()[-2:] == [("1", "4", "by hand"), ("4", "2", "gate")]


def test_a_version_of_another_model_cannot_be_champion(versions):
    client = Client()
    client.create_registered_model("another")
    other = client.create_model_version("another", versions[2].source, versions[2].run_id)
    with pytest.raises(ValueError, match="Only a version of march-madness can be champion: copy that of another into"):
        promotion.promote(other, versions[0], "forced", "a mistake")
    assert pointed() == {"champion": "1"}


def test_what_was_moved_by_hand_is_said_and_recorded_once(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    assert promotion.moved_by_hand() == ""
    Client().set_registered_model_alias(product_name(), "champion", "3")
    said = promotion.moved_by_hand()
    assert said.startswith("The alias champion is at version 3 and was left at version 2 by the last recorded move")
    assert promotion.record_by_hand() == said
    assert promotion.record_by_hand() == ""
    assert moves()[-1] == ("2", "3", "by hand")


def test_a_move_by_hand_comes_before_the_next_one_in_the_record(versions):
    Client().set_registered_model_alias(product_name(), "champion", "3")
    promotion.promote(versions[1], versions[2], "gate", "better")
    assert moves()[-2:] == [("1", "3", "by hand"), ("3", "2", "gate")]
    Client().delete_registered_model_alias(product_name(), "champion")
    assert "is nowhere and was left at version 2" in promotion.record_by_hand()
    assert moves()[-1] == ("2", "", "by hand")


def test_the_record_outlives_the_version_its_run_and_the_alias(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    before = promotion.history()
    client = Client()
    client.delete_registered_model_alias(product_name(), "champion")
    client.delete_model_version(product_name(), "2")
    client.delete_run(versions[1].run_id)
    assert promotion.history().equals(before)


def test_a_champion_that_was_deleted_elsewhere_is_noticed(versions):
    promotion.promote(versions[1], versions[0], "gate", "better")
    assert promotion.recorded() == {"1", "2"}
    assert promotion.deleted() == ""
    Client().delete_model_version(product_name(), "3")  # which never was champion
    assert promotion.deleted() == ""
    Client().delete_model_version(product_name(), "1")
    said = promotion.deleted()
    assert said.startswith("Of the versions of march-madness that the record of champions names, somebody deleted 1 (")
    Client().delete_model_version(product_name(), "2")
    assert "somebody deleted 1 (linear C 1), 2 (linear C 2): " in promotion.deleted()


def test_what_is_about_to_be_champion_is_in_the_record(versions, monkeypatch):
    monkeypatch.setattr(promotion, "_point", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        promotion.promote(versions[1], versions[0], "gate", "better")
    assert promotion.recorded() == {"1", "2"}


def test_who_was_champion_when(versions):
    moments = [datetime.now(UTC)]
    for number in (1, 2):
        time.sleep(0.01)
        promotion.promote(versions[number], versions[number - 1], "gate", "better")
        time.sleep(0.01)
        moments.append(datetime.now(UTC))
    assert [promotion.champion_at(moment)["to"] for moment in moments] == ["1", "2", "3"]


def test_a_move_that_failed_on_its_way_is_finished_by_the_next(versions, monkeypatch):
    def away(*_: object) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "set_registered_model_alias", away)
        with pytest.raises(ConnectionError, match="away"):
            promotion.promote(versions[1], versions[0], "gate", "better")
    assert pointed() == {"champion": "1"}
    assert promotion.moved_by_hand() == ""
    assert not promotion.promote(versions[1], versions[0], "gate", "better")
    assert pointed() == {"champion": "2", "previous": "1"}
    assert moves()[-1] == ("1", "2", "gate")
