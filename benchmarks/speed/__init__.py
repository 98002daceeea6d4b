"""Performance, measured against comparable libraries in one run: `python -m benchmarks.speed`."""
