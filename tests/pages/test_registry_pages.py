"""The registry's work done in MLflow's own pages, step by step as notebooks 01 and 03 tell it.

Each step builds on those before it, asks the store whether it happened, and takes the pictures of the notebooks.
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from playwright.sync_api import Locator, Page, expect

from tests.pages.conftest import take
from tests.support.names import CANDIDATES

BY_HAND = "march-madness-by-hand"
RUNS = ".ag-pinned-left-cols-container [row-id]"
BEST_FIRST = {"order_by": ["metrics.val_brier ASC"], "output_format": "list"}


def best_run(experiment: str) -> Run:
    return mlflow.search_runs(experiment_names=[experiment], **BEST_FIRST)[0]


def versions_by_hand() -> list[ModelVersion]:
    return sorted(mlflow.search_model_versions(filter_string=f"name = '{BY_HAND}'"), key=lambda v: int(v.version))


def best_by_hand() -> ModelVersion:
    return min(versions_by_hand(), key=lambda version: mlflow.get_run(version.run_id).data.metrics["val_brier"])


def open_experiment(page: Page, name: str) -> None:
    page.goto("/#/experiments")
    page.locator(f"a.experiment-link[title='{name}']").click()


def open_run(page: Page, run: Run) -> Locator:
    """Go from the list of experiments to a run's page, and give back the link to its logged model."""
    open_experiment(page, mlflow.get_experiment(run.info.experiment_id).name)
    page.get_by_role("link", name=run.info.run_name, exact=True).click()
    return page.locator("a[href*='/models/m-']:not([target])")


def choose_model(page: Page) -> Locator:
    """On a logged model's page, choose under which name to register it, and give back the button that does it."""
    page.get_by_role("button", name="Register model").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Model").click()
    page.get_by_title(BY_HAND).click()
    return dialog.get_by_role("button", name="Register")


def register(page: Page, button: Locator) -> None:
    button.click()
    message = page.get_by_text("Model registered successfully")
    expect(message).to_be_visible()
    expect(message).to_be_hidden()


def show_columns(page: Page, names: list[str]) -> None:
    """Take the columns that a list of runs shows at first out of it, and put these in.

    What can be put in is settled when the choice opens, so the runs have to be there by then.
    """
    expect(page.locator(RUNS).first).to_be_visible()
    page.get_by_role("button", name="Columns", exact=True).click()
    for name in ["Dataset", "Source", "Models", *names]:
        page.get_by_test_id("column-selector-tree").get_by_title(name, exact=True).click()
    page.get_by_role("heading").first.click()


def listed_runs(page: Page) -> list[str]:
    """The ids of the runs in a list, from the top."""
    rows = page.locator(RUNS)
    ids = {int(row.get_attribute("row-index")): row.get_attribute("row-id") for row in rows.all()}
    return [ids[place] for place in sorted(ids)]


def test_create_a_registered_model(page: Page, pictures: Path):
    page.goto("/#/models")
    page.get_by_role("button", name="Create Model").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Model name").fill(BY_HAND)
    create = dialog.get_by_role("button", name="Create")
    take(page, create, pictures / "create_model.png")
    create.click()
    expect(page.get_by_role("heading", name=BY_HAND)).to_be_visible()
    assert mlflow.MlflowClient().get_registered_model(BY_HAND).name == BY_HAND
    assert versions_by_hand() == []


def test_register_the_logged_model_of_a_run(page: Page, pictures: Path):
    run = best_run(CANDIDATES[0])
    logged_model = open_run(page, run)
    take(page, logged_model, pictures / "open_logged_model.png")
    logged_model.click()
    button = choose_model(page)
    take(page, button, pictures / "register_model.png")
    register(page, button)
    (version,) = versions_by_hand()
    assert version.run_id == run.info.run_id
    assert version.source == f"models:/{run.outputs.model_outputs[0].model_id}"


def test_add_versions_from_two_other_experiments(page: Page, pictures: Path):
    runs = [best_run(experiment) for experiment in CANDIDATES]
    for run in runs[1:]:
        open_run(page, run).click()
        register(page, choose_model(page))
    page.goto(f"/#/models/{BY_HAND}")
    take(page, page.get_by_role("link", name=f"Version {best_by_hand().version}"), pictures / "list_versions.png")
    assert [version.run_id for version in versions_by_hand()] == [run.info.run_id for run in runs]


def test_sort_the_runs_of_an_experiment(page: Page, pictures: Path):
    open_experiment(page, CANDIDATES[0])
    show_columns(page, ["val_brier"])
    heading = page.get_by_role("columnheader", name="val_brier").first
    heading.click()
    expect(page).to_have_url(re.compile("orderByAsc=false"))
    heading.click()
    expect(page).to_have_url(re.compile("orderByAsc=true"))
    take(page, heading, pictures / "sort_runs.png")
    runs = mlflow.search_runs(experiment_names=[CANDIDATES[0]], **BEST_FIRST)
    assert listed_runs(page) == [run.info.run_id for run in runs]


def test_compare_the_runs_of_three_experiments(page: Page, pictures: Path):
    page.goto("/#/experiments")
    for experiment in CANDIDATES:
        page.get_by_role("row", name=experiment).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare").click()
    show_columns(page, ["Experiment Name", "val_brier"])
    page.locator(".ag-header-select-all input").first.check()
    compare = page.get_by_role("button", name="Compare")
    take(page, compare, pictures / "select_runs.png")
    compare.click()
    expect(page.get_by_role("heading", name="Comparing 9 Runs from 3 Experiments")).to_be_visible()
    compared = json.loads(re.search(r"runs=(\[.*?\])", unquote(page.url))[1])
    assert set(compared) == {run.info.run_id for run in mlflow.search_runs(experiment_names=CANDIDATES, **BEST_FIRST)}


def test_draw_parallel_coordinates(page: Page, pictures: Path):
    metrics = page.locator("[class*=select-multiple]").last
    metrics.locator("[class*=item-remove]").click()  # train_loss, the first by name
    metrics.click()
    page.get_by_title("val_brier", exact=True).click()
    page.get_by_role("heading").first.click()
    axes = page.locator(".axis-title")
    expect(axes).to_have_text(["architecture", "learning_rate", "val_brier"])
    best = min(best_run(experiment).data.metrics["val_brier"] for experiment in CANDIDATES)
    expect(page.get_by_text(f"{best:.5f}")).to_be_visible()
    take(page, axes.last, pictures / "parallel_coordinates.png")


def test_set_the_alias(page: Page, pictures: Path):
    best = best_by_hand()
    page.goto(f"/#/models/{BY_HAND}")
    page.get_by_role("row", name=f"Version {best.version}").get_by_role("button", name="Add").last.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("champion")
    page.keyboard.press("Enter")
    save = dialog.get_by_role("button", name="Save aliases")
    take(page, save, pictures / "set_alias.png")
    save.click()
    expect(dialog).to_be_hidden()
    assert int(mlflow.MlflowClient().get_model_version_by_alias(BY_HAND, "champion").version) == int(best.version)


def test_find_the_run_that_a_version_came_from(page: Page, pictures: Path):
    champion = mlflow.MlflowClient().get_model_version_by_alias(BY_HAND, "champion")
    page.goto(f"/#/models/{BY_HAND}")
    page.get_by_role("link", name=f"Version {champion.version}").click()
    run = page.get_by_role("link", name=mlflow.get_run(champion.run_id).info.run_name)
    take(page, run, pictures / "find_source_run.png")
    run.click()
    expect(page).to_have_url(re.compile(f"/runs/{champion.run_id}"))
