"""A Ray cluster of several nodes, all on this machine."""

from __future__ import annotations

import shutil
import tempfile
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
        """End a node without warning, and wait until the head has noticed, so that no trial is sent to it any more."""
        self._ray.remove_node(node, allow_graceful=False)
        self._ray.wait_for_nodes(timeout=PATIENCE)

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
