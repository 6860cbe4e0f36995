"""Run every topic, or those that are named, and print a table for each."""

import argparse

from tests.benchmarks.features import features
from tests.benchmarks.kinds import kinds, searching
from tests.benchmarks.notebooks import notebooks
from tests.benchmarks.predictions import predictions
from tests.benchmarks.selection import selection
from tests.benchmarks.serving import serving
from tests.benchmarks.shared import shared
from tests.benchmarks.sweep import growth, sweep
from tests.benchmarks.thousand import thousand

# The sweep comes first: it would gain from the graphs that others trace.
EVERY = (sweep, growth, kinds, searching, selection, features, predictions, serving, shared, thousand, notebooks)
TOPICS = {topic.__name__: topic for topic in EVERY}

parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
parser.add_argument("topics", nargs="*", choices=[*TOPICS, "all"], default="all")
wanted = parser.parse_args().topics
for name, topic in TOPICS.items():
    if wanted == "all" or name in wanted:
        topic()
