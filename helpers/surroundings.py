"""What a launcher, a start-up file or a config file left around us: held still while we work, and given back."""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a uv.lock in the working directory would replace a model's requirements
    "KERAS_BACKEND": "tensorflow",
    "TF2_BEHAVIOR": "1",
}
# Where the user has set nothing else. A call gives up on a server that is away after 2 s, not 4 minutes; run_sweep
# waits, and begins the trial again. Files come through the server: MLflow would send each client on to the S3 service
# behind it, which often only the server can reach, and which takes two requests a file.
UNLESS_SET = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
LOCAL = ("127.0.0.1", "localhost")  # which a company's proxy would look for on its own machine
# What can decide what a call of MLflow, Keras or TensorFlow does, or will be invented to. TensorFlow's are told from
# Terraform's, whose names begin alike.
_STEERING = re.compile(
    r"_?MLFLOW_.+|(KERAS|XLA|ONEDNN|DNNL|JOBLIB|LOKY)_.+|NVIDIA_TF32_OVERRIDE"
    r"|TF_(USE|ENABLE|DISABLE|XLA|DETERMINISTIC|CUDNN|CUBLAS|CONFIG|MLIR|MKL|ONEDNN|JIT|EAGER|FORCE|OVERRIDE|SET)(_.+)?"
)
# Of those, what is somebody's business all the same: the way to a service and into it, a server's own settings, places
# on disk, and a share of the machine.
_LEFT_ALONE = re.compile(
    r"MLFLOW_(TRACKING|HTTP|S3|GCS|BOTO|KERBEROS|PYARROW|MYSQL|SQLALCHEMYSTORE|UC_OSS|MULTIPART"
    r"|ENABLE_(PROXY_)?MULTIPART|ARTIFACT_UPLOAD|DOWNLOAD|DATABRICKS|USE_DATABRICKS|DISABLE_DATABRICKS"
    r"|SERVER|AUTH|FLASK|BASIC_AUTH|WEBHOOK|CONDA)_.+|MLFLOW_(WORKSPACE|ENV_ROOT|DFS_TMP)"
    r"|KERAS_HOME|TF_FORCE_GPU_ALLOW_GROWTH|(JOBLIB|LOKY)_.+"
)

taken_away: dict[str, str] = {}  # the variables that are out of the way now, and their values
_held = ExitStack()


def take_hold() -> None:
    """Hold the environment and MLflow's active model still, until give_back or the end of the process."""
    _held.enter_context(_held_environment())
    fluent = sys.modules.get("mlflow.tracking.fluent")
    model = fluent.get_active_model_id() if hasattr(fluent, "get_active_model_id") else None
    if model:  # a metric that names no model would become one of this one's
        _held.callback(fluent._set_active_model_id, model, set_by_user=True)  # set_active_model would ask the store
        fluent.clear_active_model()


def give_back() -> None:
    """Undo every take_hold: the process has the environment and the active model that it had before the first one."""
    _held.close()


@contextmanager
def _held_environment() -> Iterator[None]:
    away = {name: os.environ[name] for name in os.environ if _STEERING.fullmatch(name) and not _is_left_alone(name)}
    unless_set = {name: os.environ.get(name) or value for name, value in UNLESS_SET.items()}
    # requests would send the user of ~/.netrc to a server in place of the one that these variables name.
    is_named = os.environ.get("MLFLOW_TRACKING_TOKEN") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    netrc = {"NETRC": os.devnull} if is_named else {}
    taken_away.update({name: value for name, value in away.items() if name not in SETTINGS})
    with environment(unless_set | netrc | _past_the_proxy() | dict.fromkeys(away) | SETTINGS):
        yield
    taken_away.clear()


def _past_the_proxy() -> dict[str, str]:
    """The variables by which this machine's own addresses pass a proxy by, where one is named, beside those that do."""
    told = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    named = any(os.environ[name] for name in os.environ if re.fullmatch("(http|https|all)_proxy", name, re.IGNORECASE))
    if not named or told.strip() == "*":
        return {}
    hosts = ",".join(dict.fromkeys([*filter(None, told.split(",")), *LOCAL]))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def _is_left_alone(name: str) -> bool:
    return bool(_LEFT_ALONE.fullmatch(name) and os.environ[name])  # MLflow would take an empty number for a wrong one


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """The environment with these variables, or without those that are None, and as it was afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    _put(variables)
    try:
        yield
    finally:
        _put(before)


def _put(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def shared(hold: Callable[[], AbstractContextManager]) -> Callable[[], AbstractContextManager]:
    """The same hold for all threads: the first that needs it takes it, the last one gives it back."""
    lock, stack, holders = threading.Lock(), ExitStack(), []

    @contextmanager
    def held() -> Iterator[None]:
        with lock:
            if not holders:
                stack.enter_context(hold())
            holders.append(threading.current_thread())
        try:
            yield
        finally:
            with lock:
                holders.pop()
                if not holders:
                    stack.close()

    return held


@shared
@contextmanager
def without_autologging() -> Iterator[None]:
    """No autologging inside, whoever switched it on, and as it was afterwards.

    MLflow's own disable_autologging would switch it on where it was off before.
    """
    autologging = sys.modules.get("mlflow.utils.autologging_utils")  # not there: nobody can have switched it on
    before = getattr(autologging, "_AUTOLOGGING_GLOBALLY_DISABLED", None)
    if autologging:
        autologging._AUTOLOGGING_GLOBALLY_DISABLED = True
    try:
        yield
    finally:
        if autologging:
            autologging._AUTOLOGGING_GLOBALLY_DISABLED = before
