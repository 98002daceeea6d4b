from tests.benchmarks.conftest import bench, demonstration_file, inline

__all__ = ["bench", "demonstration_file", "inline"]
