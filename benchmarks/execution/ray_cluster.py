"""Runs trials on a Ray cluster (https://docs.ray.io): an actor per trial runs it in a worker process of its node.

Only the runner writes results. It sends the source files to the nodes, where each trial checks their digest, and
receives messages, output, snapshots and the final policy. Ray's own fault tolerance is off: the scheduler retries, as
it does for local processes, so that every attempt is kept.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import InputError, RunError, WorkerDied, cannot_write
from benchmarks.execution.console import say
from benchmarks.execution.executor import Listener
from benchmarks.execution.ray_node import Files, Node, package_sources, read_folder, write_folder
from benchmarks.records import provenance
from benchmarks.records.schema import Record, Trial
from benchmarks.trial.protocol import TrialRequest

# Before Ray is imported: no report of its use to its makers, and no devices hidden from tasks that ask for none.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import ray
    from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, RuntimeEnvSetupError
except ImportError:
    raise InputError("--engine ray needs Ray; install it with: pip install -c requirements.lock ray") from None

LOCAL = "local"
"""The address that starts a cluster of this machine alone, for as long as the run takes."""
OBJECT_STORE = 80 * 2**20
"""Bytes of shared memory of a cluster started here: messages and policies are small."""
CONNECT_SECONDS = 10.0
PLACES = 10
"""How often to ask for a place for a trial: until its head notices, a cluster may offer one on a node that is dead."""
PAUSE_SECONDS = 1.0
"""How long to wait before asking again."""
KILL_SECONDS = 10.0
"""How long a node may take to end a trial and clean up, before its actor is killed."""


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


class RayExecutor:
    """A cluster this process is connected to; see `benchmarks.execution.executor.Executor`."""

    def __init__(self, share: Share, jobs: int | None) -> None:
        """Use the cluster.

        Args:
            share: what each trial asks for.
            jobs: how many trials may run or wait for a node at once; None is as many as the nodes can do.
        """
        self._share, self._jobs = share, jobs
        self._actors: set[Any] = set()
        # Spread, so that the nodes are used evenly: Ray would fill one before the next.
        self._node: Any = ray.remote(Node).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )

    def capacity(self) -> int:
        """How many trials the nodes that are alive now can do at once."""
        return sum(self._share.fits(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def slots(self) -> int:
        """See `Executor`; raises RunError if the cluster is gone, before Ray ends this process silently."""
        if problem := _no_answer(ray.get_runtime_context().gcs_address):
            raise RunError(
                f"the cluster is gone ({problem}); what is finished is kept. The same command resumes on a new one"
            )
        return self._jobs or self.capacity()

    async def execute(self, request: TrialRequest, listener: Listener) -> None:
        snapshots = request.snapshots or request.scratch / "snapshots"
        actor = await self._place()
        self._actors.add(actor)
        ended = False
        try:
            items = actor.execute.options(num_returns="streaming").remote(request, read_folder(snapshots))
            async for reference in items:
                item = await reference
                if isinstance(item, Files):
                    _keep(item, request, snapshots)
                    continue
                listener(_with_commit(item, provenance.commit()) if isinstance(item, Record) else item)
            ended = True
        except RayTaskError as error:
            ended = True
            raise _explain(error.cause) from None
        except RayError as error:
            raise WorkerDied(f"{_cause(error)}, without a result") from None
        finally:
            self._actors.discard(actor)
            with suppress(RayError):
                if not ended:
                    await asyncio.wait([asyncio.wrap_future(actor.kill.remote().future())], timeout=KILL_SECONDS)
                ray.kill(actor)

    async def _place(self) -> Any:
        """Wait for a place on a node; returns an actor that has answered from there."""
        for asked in range(1, PLACES + 1):
            actor = self._node.remote()
            try:
                await actor.ready.remote()
            except RuntimeEnvSetupError as error:
                raise RunError(f"a node could not unpack the source files: {_first_line(error)}") from None
            except RayError as error:
                if "failed to import" in str(error):
                    raise _cannot_import(str(error).strip().splitlines()[-1]) from None
                if asked == PLACES:
                    raise WorkerDied(f"{_cause(error)}, {PLACES} times before the trial could start") from None
                await asyncio.sleep(PAUSE_SECONDS)
            except asyncio.CancelledError:
                ray.kill(actor)
                raise
            else:
                return actor

    def stop(self) -> None:
        for actor in self._actors:
            with suppress(RayError):
                actor.stop.remote()


@contextmanager
def connect(address: str, share: Share, jobs: int | None, trials: Iterable[Trial]) -> Iterator[RayExecutor]:
    """Be connected to a cluster that has these trials' source files.

    Args:
        address: HOST:PORT of a cluster this machine belongs to, "auto" to look for it, or LOCAL.
        share: what each trial asks for.
        jobs: see `RayExecutor`.
        trials: what is to be run.

    Raises:
        InputError: there is no such cluster, or none of its nodes has what a trial asks for.
    """
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):  # Ray prints what dies
        elsewhere = package_sources(trials, Path(folder))
        if elsewhere and address != LOCAL:
            hint = "give a path below the current folder to have them sent"
            say(f"note: every node must have {', '.join(elsewhere)} at this place; {hint}")
        try:
            _join(address, share, jobs, folder)
            executor = RayExecutor(share, jobs)
            if not executor.capacity():
                raise InputError(f"no node of the cluster has {share}, which a trial asks for; it has {_nodes()}")
            yield executor
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


def _keep(files: Files, request: TrialRequest, snapshots: Path) -> None:
    """Write what a node has sent to where the request wants it."""
    folder = {"policy": request.scratch / "policy", "snapshots": snapshots, "log": request.log}[files.kind]
    if folder is None:
        return
    try:
        if files.kind == "log":
            with folder.open("ab") as log:
                log.write(files.content["log"])
        else:
            write_folder(files.content, folder)
    except OSError as error:
        raise cannot_write(Path(error.filename or folder), error) from None


def _with_commit(record: Record, commit: str) -> Record:
    """A record that says which commit made it, which a node that was sent the files alone cannot know."""
    made_by = record.provenance.model_copy(update={"commit": commit})
    return record.model_copy(update={"provenance": made_by})


def _explain(problem: Exception) -> Exception:
    """What a failure on a node means to this run."""
    if isinstance(problem, WorkerDied):
        return problem
    if isinstance(problem, ImportError):
        return _cannot_import(str(problem))
    return WorkerDied(f"its node failed without a result ({type(problem).__name__}: {_first_line(problem)})")


def _cannot_import(reason: str) -> RunError:
    return RunError(f"a node cannot import the suite ({reason}); install the same libraries there as here")


def _cause(error: RayError) -> str:
    """How Ray lost a trial, in words."""
    if isinstance(error, OutOfMemoryError) or "low on memory" in str(error):
        return "the node ran out of memory and ended it"
    if isinstance(error, RayActorError):
        return "the process or its node died"
    return f"the cluster lost it ({type(error).__name__})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
