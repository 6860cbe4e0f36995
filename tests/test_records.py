"""What a run keeps comes back as it was."""

import mlflow
import pandas as pd

from helpers import records


def test_loss_curves_come_back_as_they_were(store):
    curves = pd.DataFrame({"train": [0.3, 0.2], "validation": [0.25, 0.24]}, index=[1, 2])
    with mlflow.start_run() as run:
        records.log_losses(run.info.run_id, curves)
    pd.testing.assert_frame_equal(records.load_losses(run.info.run_id), curves, check_names=False)
