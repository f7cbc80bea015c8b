"""The drift monitor beside Evidently: `python -m benchmarks.drift`."""
