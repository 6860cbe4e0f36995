"""What becomes of each trial of a sweep: one fails, the others go on, on any backend, and nothing is done twice."""

import os
import platform
import signal
import sys
from contextlib import suppress
from dataclasses import replace

import joblib
import mlflow
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from helpers import candidates, claims, records, registry, sweep
from helpers.features import MATCHUP, OUTCOME, Split
from helpers.models import keras, torch
from helpers.scoring import brier_score
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from helpers.trials import Trial
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials, whole


@pytest.fixture
def three() -> list[Trial]:
    return trials()[::3]


def honest_but_for(monkeypatch, architecture: str, change) -> None:
    """Training as always, but for one architecture, whose model is changed."""
    train = keras.train

    def changed(trial, split, **more):
        fitted = train(trial, split, **more)
        return change(fitted) if trial.architecture == architecture else fitted

    monkeypatch.setattr(keras, "train", changed)


def raise_an_error(fitted: keras.KerasModel) -> keras.KerasModel:
    raise KeyError("a trial's own error")


def forget_all(fitted: keras.KerasModel) -> keras.KerasModel:
    fitted.model.set_weights([weight * 0 for weight in fitted.model.get_weights()])
    return fitted


def lose_a_weight(fitted: keras.KerasModel) -> keras.KerasModel:
    weights = fitted.model.get_weights()
    weights[-1][0] = np.nan
    fitted.model.set_weights(weights)
    return fitted


FAILURES = {
    raise_an_error: 'KeyError: "a trial\'s own error"',
    forget_all: "RuntimeError: The model answers each of 80 games with 0.5",
    lose_a_weight: "ValueError: ",
}


@pytest.mark.parametrize(("change", "reason"), FAILURES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_trial_that_fails_is_recorded_and_the_others_go_on(store, three, monkeypatch, capsys, change, reason):
    honest_but_for(monkeypatch, "medium", change)
    outcomes = run_sweep(three, SPLIT)
    assert outcomes["outcome"].tolist() == ["trained", "failed", "trained"]
    assert outcomes["reason"][1].startswith(reason)
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 3 trials failed; the table says why."
    (run,) = mlflow.search_runs(experiment_names=[CANDIDATES[1]], output_format="list")
    assert run.info.status == "FAILED"
    assert run.data.tags["reason"] == outcomes["reason"][1]
    assert run.data.params["architecture"] == "medium"
    assert set(candidates.leaderboard("made-up")["architecture"]) == {"small", "large"}


def test_a_library_that_is_missing_fails_its_trial_and_the_others_go_on(store, three, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    torch.start_torch.cache_clear()
    missing = Trial("torch", {"learning_rate": 0.01, "epochs": 2}, 1, "strong", "made-up")
    outcomes = run_sweep([missing, three[0]], SPLIT)
    assert outcomes["outcome"].tolist() == ["failed", "trained"]
    assert outcomes["reason"][0] == 'RuntimeError: PyTorch is not installed; pip install -e ".[torch]" brings it.'
    torch.start_torch.cache_clear()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_no_number_fails_every_trial_with_its_column(store, three, value):
    train = SPLIT.train.copy()
    train.iloc[5, 0] = value
    outcomes = run_sweep(three, Split(train, SPLIT.validation, SPLIT.test))
    assert outcomes["outcome"].tolist() == ["failed"] * 3
    assert all(f"{train.columns[0]} (1 of 400 rows)" in reason for reason in outcomes["reason"])
    with pytest.raises(LookupError, match="no candidates"):
        candidates.leaderboard("made-up")


def test_a_loss_that_becomes_nan_fails_its_trial(store, three):
    outcomes = run_sweep([*three[:2], replace(three[2], parameters={"learning_rate": 1e38, "epochs": 2})], SPLIT)
    assert outcomes["outcome"].tolist() == ["trained", "trained", "failed"]
    assert "FloatingPointError: a loss or a weight was no finite number any more in epoch" in outcomes["reason"][2]


def test_a_trial_that_failed_is_tried_again(store, three, monkeypatch):
    with monkeypatch.context() as patch:
        honest_but_for(patch, "medium", raise_an_error)
        run_sweep(three, SPLIT)
    assert run_sweep(three, SPLIT)["outcome"].tolist() == ["found", "trained", "found"]
    whole(str(store), 3)


def test_a_trial_that_is_named_twice_is_run_once(store, three):
    assert run_sweep([three[0], three[0]], SPLIT)["outcome"].tolist() == ["trained"]
    whole(str(store), 1)


def test_lines_tell_of_finished_trials_outside_a_notebook(store, three, capsys):
    run_sweep(three, SPLIT)
    lines = [f"march-madness-{name}, learning rate 0.001: trained" for name in ("small", "medium", "large")]
    assert capsys.readouterr() == ("\n".join(lines) + "\n", "")


def test_a_claimed_trial_is_waited_for(store, three, monkeypatch):
    """The claim of another process is given up while the sweep waits."""
    other = claims.claim(three[0].model, three[0].key, "elsewhere")
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if sum(waits) >= 2:
            claims._claimed.discard(other.info.run_id)

    monkeypatch.setattr(sweep.time, "sleep", sleep)
    assert run_sweep(three, SPLIT)["outcome"].tolist() == ["trained"] * 3
    assert sum(waits) >= 2
    whole(str(store), 3)


def test_an_experiment_that_was_set_before_and_a_run_that_is_active_change_nothing(store, three):
    mlflow.set_experiment(CANDIDATES[2])
    with mlflow.start_run() as outer:
        assert run_sweep(three, SPLIT)["outcome"].tolist() == ["trained"] * 3
        mlflow.end_run()
    mlflow.delete_run(outer.info.run_id)
    whole(str(store), 3)


@pytest.mark.parametrize("tags", [{}, {"owner": "me"}, {"owner": "me 1 1", "heartbeat": "soon"}])
def test_a_run_of_somebody_elses_with_a_tag_of_that_name_is_not_closed(store, three, tags):
    """Only what has all the tags of a claim, as claim writes them, is one."""
    home, client = mlflow.get_experiment_by_name(three[0].model), mlflow.MlflowClient()
    foreign = client.create_run(home.experiment_id, start_time=0, tags={"trial": three[0].key, **tags})
    assert run_sweep(three, SPLIT)["outcome"].tolist() == ["trained"] * 3
    now = client.get_run(foreign.info.run_id)
    assert (now.info.status, now.info.end_time) == ("RUNNING", None)
    assert {name: text for name, text in now.data.tags.items() if name in foreign.data.tags} == foreign.data.tags


def let_its_process_die(trial: Trial) -> None:
    """A trial that has a version becomes one whose process was killed after registering, before it closed its run."""
    run_id = registry.find_version(trial.model, trial.key).run_id
    mlflow.MlflowClient().update_run(run_id, status="RUNNING")
    mlflow.MlflowClient().set_tag(run_id, "owner", f"{platform.node()} 1 1")


def test_a_version_whose_process_dies_while_the_sweep_runs_is_found(store, three, monkeypatch):
    run_sweep(three[1:2], SPLIT)
    train = keras.train

    def meanwhile(*args, **more):
        if args[0].architecture == "small":
            let_its_process_die(three[1])
        return train(*args, **more)

    monkeypatch.setattr(keras, "train", meanwhile)
    assert run_sweep(three, SPLIT)["outcome"].tolist() == ["trained", "found", "trained"]
    whole(str(store), 3)


def test_a_version_that_comes_and_loses_its_process_after_it_was_looked_for_stays_the_only_one(
    store, three, monkeypatch
):
    run_sweep(three[:1], SPLIT)
    (first,) = mlflow.search_model_versions()
    train = keras.train

    def meanwhile(*args, **more):
        monkeypatch.setattr(registry, "find_version", find)
        let_its_process_die(three[0])
        return train(*args, **more)

    find = registry.find_version
    monkeypatch.setattr(registry, "find_version", lambda *names: None)
    monkeypatch.setattr(keras, "train", meanwhile)
    assert run_sweep(three[:1], SPLIT)["version"].tolist() == [int(first.version)]
    whole(str(store), 1)


def test_a_trial_that_somebody_finishes_between_our_look_and_our_claim_is_found(store, three, monkeypatch):
    run_sweep(three[:1], SPLIT)
    find, looks = registry.find_version, []
    monkeypatch.setattr(registry, "find_version", lambda *names: find(*names) if looks else looks.append(names))
    monkeypatch.setattr(keras, "train", None)
    assert run_sweep(three[:1], SPLIT)["outcome"].tolist() == ["found"]
    whole(str(store), 1)


def test_a_claim_that_meets_an_error_is_given_up(store, three, monkeypatch):
    honest, calls = claims.living_runs, []

    def fail_once(*names):
        calls.append(names)
        if len(calls) == 2:
            raise mlflow.MlflowException("lost")
        return honest(*names)

    monkeypatch.setattr(claims, "living_runs", fail_once)
    assert run_sweep(three[:1], SPLIT)["outcome"].tolist() == ["trained"]
    assert claims._claimed == set()
    whole(str(store), 1)


BLOWS = pytest.mark.parametrize(
    ("blow", "end"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)], ids=["SIGTERM", "Ctrl-C"]
)


@BLOWS
def test_a_blow_that_something_swallowed_ends_the_sweep_all_the_same(store, three, monkeypatch, blow, end):
    """As when it lands in a finalizer, whose exceptions Python passes over."""
    train = keras.train

    def swallow(*args, **more):
        with suppress(end):
            signal.raise_signal(blow)
        return train(*args, **more)

    monkeypatch.setattr(keras, "train", swallow)
    before = signal.getsignal(blow)
    with pytest.raises(end):
        run_sweep(three, SPLIT)
    assert signal.getsignal(blow) is before
    assert mlflow.search_runs(experiment_names=CANDIDATES)["status"].tolist() == ["FAILED"]
    monkeypatch.setattr(keras, "train", train)
    run_sweep(three, SPLIT)
    whole(str(store), 3)


@BLOWS
def test_a_blow_during_a_request_waits_until_the_trial_is_done(store, three, monkeypatch, blow, end):
    honest, after = claims.claim, []

    def struck(*args, **more):
        signal.raise_signal(blow)
        after.append("went on")
        return honest(*args, **more)

    monkeypatch.setattr(claims, "claim", struck)
    with pytest.raises(end):
        run_sweep(three, SPLIT)
    assert after == ["went on"]
    whole(str(store), 1)


@BLOWS
def test_a_blow_while_the_store_is_away_is_not_waited_with(store, three, monkeypatch, blow, end):
    def away(*patience):
        signal.raise_signal(blow)
        pytest.fail("it waited")

    monkeypatch.setattr(sweep, "check_store", away)
    honest_but_for(monkeypatch, "small", raise_an_error)
    with pytest.raises(end):
        run_sweep(three, SPLIT)


def scores() -> list[float]:
    return candidates.leaderboard("made-up").sort_values(["model", "learning_rate"])["val_brier"].tolist()


@pytest.fixture(scope="module")
def one_by_one(empty_store, tmp_path_factory) -> list[float]:
    """The scores of the nine, run one after the other."""
    use_store(str(tmp_path_factory.mktemp("one by one") / "store"))
    run_sweep(trials(), SPLIT)
    return scores()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_side_by_side_gives_what_one_after_the_other_gives(one_by_one, store, backend):
    with joblib.parallel_config(backend):
        outcomes = run_sweep(trials(), SPLIT, n_jobs=2)
    assert outcomes["outcome"].tolist() == ["trained"] * 9
    whole(str(store))
    assert scores() == one_by_one


def test_workers_are_who_the_user_is_by_now(store, monkeypatch):
    """MLflow takes the name of a run's user from the environment."""
    for name, some in (("ann", trials()[:2]), ("ben", trials()[2:4])):
        monkeypatch.setenv("LOGNAME", name)
        run_sweep(some, SPLIT, n_jobs=2)
    found = mlflow.search_runs(experiment_names=CANDIDATES)
    assert sorted(found["tags.mlflow.user"]) == ["ann", "ann", "ben", "ben"]


def test_the_same_call_runs_on_a_dask_cluster(one_by_one, store):
    workers = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with workers, Client(workers), joblib.parallel_config("dask"):
        outcomes = run_sweep(trials(), SPLIT)
    assert outcomes["outcome"].tolist() == ["trained"] * 9
    whole(str(store))
    assert scores() == one_by_one


class ActorDiedError(Exception):
    """As Ray's: each engine has its own error for a worker that died."""


def dies(monkeypatch, times: int) -> None:
    """The engine's worker dies in its first trial, so many times, and leaves its run open."""
    honest, deaths = sweep._side_by_side, []

    def side_by_side(waiting: list[Trial], *more: object) -> object:
        if len(deaths) == times:
            return honest(waiting, *more)
        deaths.append(claims.claim(waiting[0].experiment, waiting[0].key, waiting[0].label))
        mlflow.MlflowClient().set_tag(deaths[-1].info.run_id, "owner", f"{platform.node()} 1 1")
        raise ActorDiedError

    monkeypatch.setattr(sweep, "_side_by_side", side_by_side)


def test_an_engine_whose_worker_died_is_asked_again(store, three, monkeypatch):
    dies(monkeypatch, times=2)
    assert run_sweep(three, SPLIT)["outcome"].tolist() == ["trained"] * 3
    whole(str(store), 3)


def test_an_engine_whose_workers_keep_dying_tells_it_and_leaves_no_run_open(store, three, monkeypatch):
    dies(monkeypatch, times=3)
    with pytest.raises(ActorDiedError):
        run_sweep(three, SPLIT)
    assert set(mlflow.search_runs(search_all_experiments=True)["status"]) == {"KILLED"}


def test_workers_keep_tensorflow_to_their_share_of_the_cores(store, three, monkeypatch):
    shares = []
    monkeypatch.setattr(sweep, "_find_or_train", lambda trial, split: {"outcome": "found", "version": 1, "reason": ""})
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    for jobs in (1, 2, 3):
        with joblib.parallel_config("threading"):
            run_sweep(three, SPLIT, n_jobs=jobs)
        shares.append(int(os.environ["TF_NUM_INTRAOP_THREADS"]))
    assert shares == [8, 4, 2]


def test_the_scores_are_those_of_the_validation_games(store, three):
    run_sweep(three, SPLIT)
    for row in candidates.leaderboard("made-up").itertuples():
        kept = records.load_predictions(row.run_id)
        assert row.val_brier == pytest.approx(((kept["Prediction"] - kept[OUTCOME]) ** 2).mean(), abs=1e-9)


# What a trial leaves behind


def test_a_trial_that_has_finished_is_not_trained_again(version, trial, split, monkeypatch):
    def never(*args, **more):
        raise AssertionError("trained again")

    monkeypatch.setattr(keras, "train", never)
    assert run_trial(trial, split).version == version.version
    with pytest.raises(AssertionError, match="trained again"):
        run_trial(replace(trial, seed=4), split)


def test_a_run_holds_what_the_design_names(version, trial, split, columns):
    run = mlflow.get_run(version.run_id)
    assert run.data.params == {name: str(value) for name, value in trial.made_of.items()}
    kept = records.load_predictions(version.run_id)
    assert list(kept) == [*MATCHUP, OUTCOME, "Prediction"]
    assert len(kept) == len(split.validation)
    assert run.data.metrics["val_brier"] == pytest.approx(brier_score(kept[OUTCOME], kept["Prediction"]))
    assert run.inputs.dataset_inputs[0].dataset.digest == trial.data
    assert len(records.load_losses(version.run_id)) == trial.parameters["epochs"]
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(version.run_id)}
    assert files == {"loss_curves.svg", records.PREDICTIONS}


def test_a_trial_without_an_experiment_is_refused(version, trial):
    with pytest.raises(LookupError, match="no experiment 'march-madness-tiny'"):
        claims.claim("march-madness-tiny", trial.key, "a trial")


def test_sweep_keeps_a_picture_of_the_losses(version):
    picture = mlflow.artifacts.load_text(f"runs:/{version.run_id}/loss_curves.svg")
    assert 'width="540pt" height="273.6pt"' in picture
    for text in ("Loss, epoch by epoch", "training", "validation", "kept: epoch "):
        assert text in picture
