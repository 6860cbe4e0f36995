"""What the helpers gain over the plain way, measured side by side: python -m tests.benchmarks [topic ...]."""
