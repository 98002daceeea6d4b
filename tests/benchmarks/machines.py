"""A Ray cluster of several nodes, all on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from benchmarks.execution.ray_node import PREFIX
from tests.benchmarks.processes import PATIENCE, workers_of

STORE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


class Machines:
    """A cluster whose head does no trials, with nodes that share nothing but the file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ray = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **STORE})

    @property
    def address(self) -> str:
        return str(self._ray.address)

    def add(self) -> Any:
        """A node that does one trial at once."""
        node = self._ray.add_node(num_cpus=1, temp_dir=tempfile.mkdtemp(dir=self.folder), **STORE)
        self._ray.wait_for_nodes()
        return node

    def kill(self, node: Any) -> None:
        """End a node without warning, after a moment in which it is dead and the head does not know."""
        (raylet,) = node.all_processes["raylet"]
        with self.slow_head():
            os.kill(raylet.process.pid, signal.SIGKILL)
            time.sleep(3.0)
        self._ray.remove_node(node, allow_graceful=False)
        self._ray.wait_for_nodes(timeout=PATIENCE)

    @contextmanager
    def slow_head(self) -> Iterator[None]:
        """While this lasts, the head does nothing; nor does it notice that a node has died."""
        (gcs,) = self._ray.head_node.all_processes["gcs_server"]
        os.kill(gcs.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(gcs.process.pid, signal.SIGCONT)

    def behead(self) -> None:
        self._ray.head_node.kill_gcs_server(check_alive=False)

    def workers(self) -> list[int]:
        """Trials' processes on the nodes."""
        return workers_of(self.folder)

    def left(self) -> list[Path]:
        """Trials' folders on the nodes."""
        return list(self.folder.glob(f"{PREFIX}*"))

    def clean(self) -> None:
        """What is killed cleans up nothing itself."""
        for path in self.left():
            shutil.rmtree(path)

    def shutdown(self) -> None:
        self._ray.shutdown()
