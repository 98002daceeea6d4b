"""One trial in one process: demonstrations -> fit -> evaluate -> record.

`python -m benchmarks.trial.worker` reads an order as one line of JSON from its standard input and writes events as
lines of JSON to its standard output, the last of which is the record. It dies when its standard input ends, so that no
worker outlives its runner.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from benchmarks.errors import RunError, cannot_write
from benchmarks.records import provenance
from benchmarks.records.schema import Record, Rollout, Trial
from benchmarks.trial.checkpoints import Snapshots, history
from benchmarks.trial.clock import peak_memory_mib
from benchmarks.trial.context import TrialContext
from benchmarks.trial.protocol import NOTHING, Emit, Event, Halt, Order
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task
from envs.insertion.errors import SimulationUnstable
from methods import registry
from methods.interface import Diverged, MethodError, SeedStreams, make_settings

TRACEBACK_LINES = 8
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Not the method's fault, and the next trial's as well."""
PREFERRED_VICTIM = "500"
"""Of a system that runs out of memory: one trial, which is made again, rather than the runner."""


class CodeChanged(MethodError):
    """The source files are not those the run was planned with."""


def perform(order: Order, emit: Emit) -> Record:
    """Do a trial. Whatever goes wrong in it becomes the status and error of its record.

    Args:
        order: the trial and where it may write.
        emit: is told about progress and evaluations.

    Raises:
        RunError: the disk is full.
    """
    trial = order.trial
    made_by = provenance.describe(order.code_digest)
    context: TrialContext | None = None
    final: dict[str, list[Rollout]] = {}
    status, error = "ok", ""
    try:
        method = registry.resolve(trial.method)
        _check_code(order)
        _seed_libraries(SeedStreams(trial.seed))
        demonstrations = _demonstrations(trial)
        settings = make_settings(method, trial.settings)
        snapshots = Snapshots(order.snapshots, order.save_every, trial, order.code_digest, emit)
        context = TrialContext(trial, demonstrations, order.scratch / "method", emit, snapshots)
        context.scratch.mkdir()
        policy = method(settings).fit(demonstrations, context)
        final = context.finish(policy)
        policy.save(order.scratch / "policy")
        _check_code(order)
    except (Diverged, SimulationUnstable) as problem:
        status, error = "diverged", str(problem)
    except (MethodError, DemonstrationError) as problem:
        status, error = "failed", str(problem)
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in NO_SPACE:
            raise cannot_write(order.scratch, problem) from None
        status, error = "failed", _explain(problem)
    made_by = made_by.model_copy(update=history(order.snapshots) | {"unsaved": context.unsaved() if context else ""})
    return Record.model_validate(
        {
            "trial": trial,
            "status": status,
            "error": error,
            "curve": context.curve if context else [],
            "final": final if status == "ok" else {},
            "diagnostics": context.diagnostics() if context else {},
            "usage": context.usage() if context else NOTHING.model_copy(update={"peak_memory_mib": peak_memory_mib()}),
            "provenance": made_by,
        }
    )


def _check_code(order: Order) -> None:
    method = registry.resolve(order.trial.method)
    if provenance.digest(provenance.source_files(method, order.trial.task)) != order.code_digest:
        raise CodeChanged("source files of this trial changed after the run was started; repeat it with --retry-failed")


def _demonstrations(trial: Trial) -> Demonstrations:
    choice = trial.demonstrations
    whole = load_task(trial.task) if choice.source == "shipped" else load(choice.source)
    if whole.digest != choice.digest:
        raise DemonstrationError(f"{choice.source} demonstrations of {trial.task} changed since the run was planned")
    return whole.subset(choice.episodes, choice.start, choice.every, choice.final_only, choice.states_alone)


def _seed_libraries(seeds: SeedStreams) -> None:
    """Methods use their own streams; this keeps a library that uses a global one from being random."""
    random.seed(seeds.integer("python"))
    np.random.seed(seeds.integer("numpy"))
    torch.manual_seed(seeds.integer("torch"))


def _explain(problem: Exception) -> str:
    """One line that says what happened, then the end of the traceback with paths relative to the source."""
    lines = "".join(traceback.format_exception(problem)).replace(f"{provenance.ROOT}{os.sep}", "").splitlines()
    summary = f"{type(problem).__name__}: {problem}".splitlines()[0]
    return "\n".join([summary, *lines[-TRACEBACK_LINES:]])


def depend_on_runner() -> None:
    """End this process with its runner, whose end closes standard input; and die first where memory is short."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text(PREFERRED_VICTIM)


def main() -> None:
    """The process: see the module's docstring."""
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print must not mix with the events
    with open(0, "rb", buffering=0, closefd=False) as orders:
        order = Order.model_validate_json(orders.readline())
    depend_on_runner()
    torch.set_num_threads(provenance.THREADS)
    with os.fdopen(channel, "wb") as events:

        def emit(event: Event) -> None:
            events.write(event.model_dump_json().encode() + b"\n")
            events.flush()

        try:
            events.write(perform(order, emit).to_bytes())
        except RunError as problem:
            emit(Halt(reason=str(problem)))


if __name__ == "__main__":
    main()
