"""Trials on a Ray cluster (https://docs.ray.io): each is a task that does it in a process of its node.

The runner stays the only one who writes results. It sends the source files to the nodes, where each trial checks their
digest, and gets back lines and the final policy. Ray's own fault tolerance is off: the engine tries again, as it does
for local processes, so that every attempt is kept.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.errors import InputError, RunError, WorkerDied, cannot_write
from benchmarks.execution.local import LocalWorkplace
from benchmarks.execution.relay import Folder, read_folder, relay, with_commit, write_folder
from benchmarks.execution.shipment import pack
from benchmarks.records import provenance
from benchmarks.records.schema import Trial
from benchmarks.trial.protocol import TrialRequest

# Before Ray is imported: no report of its use to its makers, and no devices hidden from tasks that ask for none.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import ray
    from ray.exceptions import (
        NodeDiedError,
        OutOfMemoryError,
        RayError,
        RayTaskError,
        RuntimeEnvSetupError,
        WorkerCrashedError,
    )
except ImportError:
    raise InputError("--engine ray needs Ray; install it with: pip install -c requirements.lock ray") from None

LOCAL = "local"
"""The address that starts a cluster of this machine alone, for as long as the run takes."""
OBJECT_STORE = 80 * 2**20
"""Bytes of shared memory of a cluster started here: lines and policies are small."""
CONNECT_SECONDS = 10.0
CANCEL_SECONDS = (5.0, 5.0, 5.0)
"""How long a cancelled trial may take to end and clean up before it is told again, and at last is killed."""


@dataclass(frozen=True)
class Share:
    """What a trial asks of its node: CPUs and GPUs, fractions allowed."""

    cpus: float
    gpus: float

    def fits(self, resources: dict[str, float]) -> int:
        """How many trials a node with these resources can do at once."""
        asked = (("CPU", self.cpus), ("GPU", self.gpus))
        return min(math.floor(resources.get(name, 0.0) / share + 1e-9) for name, share in asked if share)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")


class RayWorkplace:
    """A cluster this process is connected to; see `benchmarks.execution.scheduler.Workplace`."""

    def __init__(self, share: Share, jobs: int | None, node: LocalWorkplace | None = None) -> None:
        """Use the cluster.

        Args:
            share: what each trial asks for.
            jobs: how many trials may be at work or wait for a node at once; None is as many as the nodes can do.
            node: how a node does a trial, if not as a machine does it alone.
        """
        self._share, self._jobs, self._node = share, jobs, node or LocalWorkplace(jobs=1)
        # Spread, so that the nodes are used evenly: Ray would fill one before the next.
        self._task: Any = ray.remote(relay).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_retries=0, scheduling_strategy="SPREAD"
        )

    def capacity(self) -> int:
        """How many trials the nodes that are alive now can do at once."""
        return sum(self._share.fits(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def room(self) -> int:
        """See `Workplace`; raises RunError where the cluster is gone, of which Ray would die without a word of ours."""
        if problem := _no_answer(ray.get_runtime_context().gcs_address):
            raise RunError(
                f"the cluster is gone ({problem}); what is finished is kept. With a new one the same command goes on"
            )
        return self._jobs or self.capacity()

    async def work(self, order: TrialRequest) -> AsyncGenerator[bytes, None]:
        places = {"policy": order.scratch / "policy", "snapshots": order.snapshots or order.scratch / "snapshots"}
        items: ray.ObjectRefGenerator = self._task.remote(order, read_folder(places["snapshots"]), self._node)
        try:
            async for reference in items:
                item = await reference
                if isinstance(item, bytes):
                    yield with_commit(item, provenance.commit())
                else:
                    kind, content = item
                    _keep(content, places[kind])
        except RayTaskError as error:
            raise _explain(error.cause) from None
        except RuntimeEnvSetupError as error:
            raise RunError(f"a node could not unpack the source files: {_first_line(error)}") from None
        except RayError as error:
            raise WorkerDied(f"{_cause(error)}, without a result") from None
        finally:
            await _end(items)


@contextmanager
def connect(address: str, share: Share, jobs: int | None, trials: Iterable[Trial]) -> Iterator[RayWorkplace]:
    """Be connected to a cluster that has these trials' source files.

    Args:
        address: HOST:PORT of a cluster this machine belongs to, "auto" to look for it, or LOCAL.
        share: what each trial asks for.
        jobs: see `RayWorkplace`.
        trials: what is to be done.

    Raises:
        InputError: there is no such cluster, or none of its nodes has what a trial asks for.
    """
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):  # Ray prints what dies
        elsewhere = pack(trials, Path(folder))
        if elsewhere and address != LOCAL:
            hint = "give a path below the current folder to have them sent"
            click.echo(f"note: every node must have {', '.join(elsewhere)} at this place; {hint}", err=True)
        try:
            _join(address, share, jobs, folder)
            place = RayWorkplace(share, jobs)
            if not place.capacity():
                raise InputError(f"no node of the cluster has {share}, which a trial asks for; it has {_nodes()}")
            yield place
        finally:
            ray.shutdown()


def _join(address: str, share: Share, jobs: int | None, folder: str) -> None:
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # the system's own ends what takes too much
        cpus = math.ceil(jobs * share.cpus) if jobs else None
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    else:
        _require_answer(address)
    try:
        ray.init(**options, runtime_env={"working_dir": folder}, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, ValueError, OSError, RayError) as error:
        raise InputError(
            f"--ray-address {address}: {_first_line(error)}; this machine must be one of the cluster's, with the same "
            "Ray and, where the cluster asks for it, RAY_AUTH_MODE=token and the same ~/.ray/auth_token"
        ) from None


def _require_answer(address: str) -> None:
    """Ray itself takes minutes to find that nobody is there."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "://" in address:
        raise InputError(
            f"--ray-address {address!r} is neither HOST:PORT nor auto; "
            "a machine outside the cluster joins it first: ray start --num-cpus=0 --address=HOST:PORT"
        )
    if problem := _no_answer(address):
        raise InputError(
            f"--ray-address {address}: no cluster answers there ({problem}); "
            "start one with `ray start --head --port=6379`, or leave the option out to use this machine alone"
        )


def _no_answer(address: str) -> str:
    """Why nobody answers at HOST:PORT; empty where somebody does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""


def _nodes() -> str:
    """What the nodes have, in words."""
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return "; ".join(sorted(str(Share(have.get("CPU", 0.0), have.get("GPU", 0.0))) for have in alive)) or "none"


async def _end(items: ray.ObjectRefGenerator) -> None:
    """Cancel a task that is at work or waits for a node, and wait until it has ended."""
    if items.is_finished():
        return
    ended = asyncio.wrap_future(items.completed().future())
    for seconds in CANCEL_SECONDS:
        ray.cancel(items)  # an interrupt, which may meet Python where it is lost
        if (await asyncio.wait([ended], timeout=seconds))[0]:
            if not ended.cancelled():
                ended.exception()  # that it was cancelled; taken note of
            return
    ray.cancel(items, force=True)


def _keep(content: Folder, folder: Path) -> None:
    try:
        write_folder(content, folder)
    except OSError as error:
        raise cannot_write(Path(error.filename or folder), error) from None


def _explain(problem: Exception) -> Exception:
    """What a failure of the relay means to this run."""
    if isinstance(problem, WorkerDied):
        return problem
    if isinstance(problem, ImportError):
        return RunError(f"a node cannot import the suite ({problem}); install the same libraries there as here")
    return WorkerDied(f"its node failed without a result ({type(problem).__name__}: {_first_line(problem)})")


def _cause(error: RayError) -> str:
    """How Ray lost a task, in words."""
    if isinstance(error, OutOfMemoryError):
        return "the node ran out of memory and ended it"
    if isinstance(error, WorkerCrashedError | NodeDiedError):
        return "the process or its node died"
    return f"the cluster lost it ({type(error).__name__})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
