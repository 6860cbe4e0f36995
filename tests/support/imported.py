"""What takes seconds to import: done once, in the process that those of tests.support.process are forked from."""

from helpers.models import keras

keras.start_keras()
import mlflow.tensorflow  # noqa: E402, F401  after Keras, which is told how to start
