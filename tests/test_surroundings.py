"""Nothing that a launcher, a start-up file or a config file left around a run may steer it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests

from helpers import claims, registry, surroundings
from helpers.models import keras
from helpers.stores.store import use_store
from helpers.sweep import run_sweep, run_trial
from tests.conftest import ROOT
from tests.support.names import CANDIDATES
from tests.support.work import SPLIT, trials, whole


@pytest.fixture
def finished(store):
    """The run and the logged model of one finished trial, in the store in use, as everything about them is now."""
    version = run_trial(trials()[0], SPLIT)
    return version, lambda: (mlflow.get_run(version.run_id).to_dictionary(), model_of(version))


def model_of(version) -> dict:
    return mlflow.get_logged_model(version.source.removeprefix("models:/")).to_dictionary()


# The environment is held, and given back

STEERING = {
    "MLFLOW_RUN_ID": 32 * "a",
    "MLFLOW_EXPERIMENT_ID": "0",
    "MLFLOW_EXPERIMENT_NAME": "elsewhere",
    "MLFLOW_ACTIVE_MODEL_ID": f"m-{32 * 'a'}",
    "_MLFLOW_ACTIVE_MODEL_ID": f"m-{32 * 'a'}",
    "MLFLOW_REGISTRY_URI": "sqlite:///elsewhere.db",
    "MLFLOW_RUN_CONTEXT": '{"trial": "abc"}',
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
    "MLFLOW_LOCK_MODEL_DEPENDENCIES": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "true",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_SOMETHING_THAT_IS_YET_TO_BE_INVENTED": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "",  # MLflow would read a number out of nothing
    "LOKY_MAX_CPU_COUNT": "",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
}
LEFT_ALONE = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "secret",
    "MLFLOW_TRACKING_TOKEN": "secret",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "/nowhere",
    "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "7",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
    "MLFLOW_WORKSPACE": "ours",
    "KERAS_HOME": "/nowhere",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "LOKY_MAX_CPU_COUNT": "2",
    "AWS_PROFILE": "ours",
    "TF_CLI_CONFIG_FILE": "terraform's",
    "TF_VAR_region": "terraform's",
}


def test_what_could_steer_is_out_of_the_way_and_comes_back(environment):
    for name, value in STEERING.items():
        environment.setenv(name, value)
    before = dict(os.environ)
    surroundings.take_hold()
    surroundings.take_hold()
    assert set(STEERING) & set(os.environ) == set()
    assert {name: os.environ[name] for name in surroundings.SETTINGS} == surroundings.SETTINGS
    surroundings.give_back()
    assert dict(os.environ) == before


def test_the_way_to_a_service_and_the_share_of_the_machine_are_left_alone(environment):
    for name, value in LEFT_ALONE.items():
        environment.setenv(name, value)
    surroundings.take_hold()
    assert {name: os.environ.get(name) for name in LEFT_ALONE} == LEFT_ALONE


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", None])
def test_the_user_of_netrc_is_not_sent_in_place_of_the_one_that_was_named(environment, name):
    """As requests does, which MLflow asks by (psf/requests 3929)."""
    environment.delenv("NETRC", raising=False)
    if name:
        environment.setenv(name, "me")
    surroundings.take_hold()
    assert os.environ.get("NETRC") == (os.devnull if name else None)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [(None, "127.0.0.1,localhost"), ("a.example,localhost", "a.example,localhost,127.0.0.1"), ("*", "*")],
)
def test_a_companys_proxy_is_passed_by_on_the_way_to_this_machine(environment, told, wanted):
    for name in ("no_proxy", "NO_PROXY"):
        environment.delenv(name, raising=False)
    if told:
        environment.setenv("NO_PROXY", told)
    environment.setenv("http_proxy", "http://127.0.0.1:9")
    surroundings.take_hold()
    surroundings.take_hold()
    assert os.environ["NO_PROXY"] == wanted
    assert requests.utils.get_environ_proxies("http://127.0.0.1:1/") == {}
    assert urllib.request.proxy_bypass("127.0.0.1:1")
    assert bool(requests.utils.get_environ_proxies("http://mlflow.example/")) == (told != "*")
    surroundings.give_back()
    assert os.environ.get("NO_PROXY") == told


def test_where_no_proxy_is_named_nothing_is_set_for_one(environment):
    """For Python would then take its word for all there is to know, and not ask macOS or Windows for theirs."""
    for name in ("no_proxy", "http_proxy", "https_proxy", "all_proxy"):
        environment.delenv(name, raising=False)
        environment.delenv(name.upper(), raising=False)
    surroundings.take_hold()
    assert {"no_proxy", "NO_PROXY"} & set(os.environ) == set()


# No run, model or version of somebody else is touched


@pytest.mark.parametrize("when", ["before the store is opened", "after it"])
def test_the_run_and_the_model_that_a_launcher_named_stay_as_they_are(environment, store, finished, when):
    version, look = finished
    before = look()
    if when == "after it":
        use_store(str(store))
    environment.setenv("MLFLOW_RUN_ID", version.run_id)
    environment.setenv("MLFLOW_ACTIVE_MODEL_ID", version.source.removeprefix("models:/"))
    environment.setenv("MLFLOW_EXPERIMENT_NAME", CANDIDATES[2])
    if when != "after it":
        use_store(str(store))
    assert run_sweep(trials(), SPLIT)["outcome"].tolist() == ["found", *["trained"] * 8]
    assert look() == before
    whole(str(store))


def test_a_claim_makes_a_run_of_its_own_whatever_the_variable_says(environment, store, finished):
    version, look = finished
    before = look()
    environment.setenv("MLFLOW_RUN_ID", version.run_id)
    claimed = claims.claim(CANDIDATES[1], "abc", "a trial")
    with claims.held(claimed.info.run_id):
        pass
    assert claimed.info.run_id != version.run_id
    assert look() == before


def test_an_active_model_and_an_active_run_get_nothing_and_stay_active(environment, store, finished):
    version, look = finished
    mlflow.set_active_model(model_id=version.source.removeprefix("models:/"))
    with mlflow.start_run() as outer:
        before = look(), mlflow.get_run(outer.info.run_id).data.to_dictionary()
        run_trial(trials()[1], SPLIT)
        assert (look(), mlflow.get_run(outer.info.run_id).data.to_dictionary()) == before
        assert mlflow.active_run().info.run_id == outer.info.run_id
    surroundings.give_back()
    assert mlflow.get_active_model_id() == version.source.removeprefix("models:/")
    mlflow.clear_active_model()


def test_versions_go_into_the_store_whatever_registry_was_chosen(environment, store, tmp_path):
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    environment.setenv("MLFLOW_REGISTRY_URI", elsewhere)
    mlflow.set_registry_uri(elsewhere)
    use_store(str(store))
    run_trial(trials()[0], SPLIT)
    assert mlflow.get_registry_uri() == mlflow.get_tracking_uri()
    assert not (tmp_path / "elsewhere.db").exists()
    whole(str(store), 1)


def test_a_choice_leaves_the_environments_address_as_it_was(environment, store):
    environment.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    use_store(str(store.parent / "another"))
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"


AUTOLOGGED = """
import sys, warnings
import mlflow
mlflow.autolog({options})
from dataclasses import replace
from pathlib import Path
from sklearn.linear_model import LinearRegression
from helpers.baselines import choose_features
from helpers.features import FEATURE_SETS
from helpers.stores.store import use_store
from helpers.sweep import run_sweep
from tests.support.work import SPLIT, trials
use_store(sys.argv[1])
games = SPLIT.train.assign(**dict.fromkeys(FEATURE_SETS["box-score"], 0.0))
choose_features(games, games)
assert set(run_sweep(trials()[:2], SPLIT)["outcome"]) == {{"trained"}}
assert len(mlflow.search_runs(search_all_experiments=True)) == 2
assert [path.name for path in Path().iterdir()] == ["store"]
LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
print(len(mlflow.search_runs(search_all_experiments=True)))
"""


@pytest.mark.parametrize(("options", "afterwards"), [("", 3), ("disable=True", 2)])
def test_autologging_is_off_for_our_work_and_as_it_was_afterwards(tmp_path, options, afterwards):
    code = [sys.executable, "-c", AUTOLOGGED.format(options=options), str(tmp_path / "store")]
    done = subprocess.run(
        code, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(afterwards)


def test_autologging_stays_off_until_the_last_thread_has_done(environment):
    from mlflow.utils import autologging_utils

    first, second = threading.Event(), threading.Event()

    def work() -> None:
        with surroundings.without_autologging():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=work)
    with surroundings.without_autologging():
        thread.start()
        assert first.wait(10)
    assert autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED
    second.set()
    thread.join()
    assert not autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED


# A trial's key decides its network, and nothing else does


def bits() -> str:
    trial = replace(trials()[0], parameters={"learning_rate": 0.001, "epochs": 3})
    return hashlib.sha256(b"".join(w.tobytes() for w in keras.train(trial, SPLIT).model.get_weights())).hexdigest()


@pytest.fixture(scope="module")
def unsteered() -> str:
    return bits()


CHOICES = {
    "floatx": "float16",
    "epsilon": 3.0,
    "dtype_policy": "mixed_bfloat16",
    "max_epochs": 1,
    "max_steps_per_epoch": 1,
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_setting_of_keras_changes_no_network_and_stays_as_it_was_chosen(unsteered, monkeypatch, name):
    config = keras.start_keras().config
    get, choose = getattr(config, name), getattr(config, f"set_{name}")
    before = get()
    choose(CHOICES[name])
    monkeypatch.setattr(keras, "_twins", {})
    try:
        assert bits() == unsteered
        assert getattr(get(), "name", get()) == CHOICES[name]
    finally:
        choose(before)


def test_functions_that_run_eagerly_are_compiled_for_us(unsteered, monkeypatch):
    import tensorflow as tf

    honest, seen = keras._compiled_twin, []

    def look(*arguments, **named):
        seen.append((tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit()))
        return honest(*arguments, **named)

    monkeypatch.setattr(keras, "_twins", {})
    monkeypatch.setattr(keras, "_compiled_twin", look)
    tf.config.run_functions_eagerly(True)
    tf.config.optimizer.set_jit("autoclustering")
    try:
        assert bits() == unsteered
        assert seen == [(False, "")]
        assert (tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit()) == (True, "autoclustering")
    finally:
        tf.config.run_functions_eagerly(False)
        tf.config.optimizer.set_jit(False)


TRAIN = "from tests.test_surroundings import bits; print(bits())"


def in_another_process(code: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def keras_home(folder: Path, content: str) -> str:
    (folder / "keras.json").write_text(content)
    return str(folder)


def test_variables_and_keras_json_change_no_network(unsteered, tmp_path):
    chosen = {"floatx": "float64", "epsilon": 3.0, "backend": "torch", "image_data_format": "channels_first"}
    home = keras_home(tmp_path, json.dumps(chosen))
    steering = {name: value for name, value in STEERING.items() if not name.startswith(("MLFLOW", "LOKY"))}
    done = in_another_process(TRAIN, KERAS_HOME=home, KERAS_BACKEND="torch", TF2_BEHAVIOR="0", **steering)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == unsteered


@pytest.mark.parametrize("content", ['{"floatx": "int8"}', '{"epsilon": "small"}', "[]"])
def test_a_keras_json_that_keras_does_not_start_with_is_named(tmp_path, content):
    home = keras_home(tmp_path, content)
    done = in_another_process("from helpers.models import keras; keras.start_keras()", KERAS_HOME=home)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"RuntimeError: Keras does not start with what {home}/keras.json says; mend or delete that")


def test_a_setting_that_tensorflow_was_imported_with_is_named():
    code = "import tensorflow\nfrom helpers.models import keras; keras.start_keras()"
    done = in_another_process(code, TF_ENABLE_ONEDNN_OPTS="0", LOKY_MAX_CPU_COUNT="", MLFLOW_RUN_ID="a")
    sentence = "RuntimeError: TensorFlow was imported before with TF_ENABLE_ONEDNN_OPTS=0; unset that and start this"
    assert done.stderr.strip().splitlines()[-1].startswith(sentence)


def test_another_backend_that_keras_was_imported_with_is_named(monkeypatch):
    monkeypatch.setattr(keras.start_keras().backend, "backend", lambda: "torch")
    with pytest.raises(
        RuntimeError, match="Keras was imported before with KERAS_BACKEND=torch; start this kernel again"
    ):
        keras._import_keras.__wrapped__()


def test_a_model_that_was_loaded_under_another_policy_answers_the_same(store):
    version = run_trial(trials()[0], SPLIT)
    right, config = registry.load(version).predict(SPLIT.validation), keras.start_keras().config
    config.set_dtype_policy("mixed_bfloat16")
    try:
        assert np.array_equal(registry.load(version).predict(SPLIT.validation), right)
    finally:
        config.set_dtype_policy("float32")
