"""Speed and memory, measured: `python -m benchmarks.run`. Nothing here is timed in the tests."""
