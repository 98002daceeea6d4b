"""Runs one trial in one process: demonstrations -> fit -> evaluate -> record.

`python -m benchmarks.trial.worker` uses the protocol of `benchmarks.trial.protocol` on its standard input and output.
It exits when its standard input ends, so that no worker outlives its runner.
"""

from __future__ import annotations

import errno
import faulthandler
import logging
import os
import random
import selectors
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from pydantic import ValidationError

from benchmarks.errors import RunError, cannot_write
from benchmarks.records import provenance
from benchmarks.records.schema import Mode, Record, Rollout, Trial
from benchmarks.trial import saved_policy
from benchmarks.trial.checkpoints import Snapshots, history
from benchmarks.trial.clock import peak_memory_mib
from benchmarks.trial.context import TrialContext
from benchmarks.trial.protocol import NOTHING, STOP, Abort, Emit, Event, Interrupted, Notice, TrialRequest
from benchmarks.trial.selection import select
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task
from envs.insertion.errors import SimulationUnstable
from methods import registry
from methods.action_inference import infer_actions
from methods.counting import ELSEWHERE
from methods.interface import Diverged, Method, MethodError, SeedStreams, Stopped, make_settings

TRACEBACK_LINES = 8
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""Not the method's fault, and the next trial's as well."""
PREFERRED_VICTIM = "500"
"""Of a system that runs out of memory: one trial, which is made again, rather than the runner."""


class CodeChanged(MethodError):
    """The source files are not those the run was planned with."""


def perform(request: TrialRequest, emit: Emit, stop: threading.Event | None = None) -> Record:
    """Do a trial. Whatever goes wrong in it becomes the status and error of its record.

    Args:
        request: the trial and where it may write.
        emit: is told about progress and evaluations.
        stop: once it is set, the trial saves a checkpoint at the next opportunity and ends.

    Raises:
        RunError: the disk is full.
        Stopped: `stop` was set; the argument says why no checkpoint could be saved, empty where one was.
    """
    trial = request.trial
    stop = stop or threading.Event()
    if stop.is_set():
        raise Stopped("")  # before this process counts as one that worked on the trial
    made_by = provenance.describe(request.code_digest)
    context: TrialContext | None = None
    final: dict[Mode, list[Rollout]] = {}
    status, error = "ok", ""
    try:
        method = registry.resolve(trial.method)
        _check_code(request)
        _seed_libraries(SeedStreams(trial.seed))
        demonstrations = _demonstrations(trial)
        settings = make_settings(method, trial.settings)
        snapshots = Snapshots(request.snapshots, request.save_every, trial, request.code_digest, emit)
        context = TrialContext(trial, demonstrations, request.scratch / "method", emit, snapshots, stop)
        context.scratch.mkdir()
        _require_expert(method, trial, context)
        policy = context.trained_policy()
        if policy is None:
            policy = method(settings).fit(_shown(trial, context), context)
        context.raise_if_stopped()  # it may have caught what `checkpoint` raised
        context.require_own_process()
        final = context.finish(policy)
        saved_policy.save(policy, request.scratch / "policy", trial, context.task, context.bounds)
        if type(policy) is not (expected := registry.policy_class(method)):
            emit(Notice(text=f"{trial.method}: policy is {expected.__name__}, but fit gave {type(policy).__name__}"))
        _check_code(request)
    except (Exception, SystemExit) as problem:
        if context is not None:
            context.raise_if_stopped()  # whatever the method made of `Stopped`
        if isinstance(problem, OSError) and problem.errno in NO_SPACE:
            raise cannot_write(request.scratch, problem) from None
        status, error = _verdict(problem, context)
    finally:
        if context is not None:
            _close(context, emit)
    made_by = made_by.model_copy(update=history(request.snapshots) | {"unsaved": context.unsaved() if context else ""})
    outcome = {
        "trial": trial,
        "status": status,
        "error": _printable(error),
        "usage": context.usage() if context else NOTHING.model_copy(update={"peak_memory_mib": peak_memory_mib()}),
        "provenance": made_by,
    }
    details = {
        "curve": context.curve if context else [],
        "final": final if status == "ok" else {},
        "diagnostics": context.diagnostics() if context else {},
    }
    try:
        return Record.model_validate(outcome | details)
    except ValidationError as problem:
        return Record.model_validate(outcome | {"status": "failed", "error": f"it cannot be recorded: {problem}"})


def _shown(trial: Trial, context: TrialContext) -> Demonstrations:
    """The demonstrations that the method learns from; inferring actions takes the first of its environment steps."""
    if steps := trial.demonstrations.inference_steps:
        return infer_actions(context.demonstrations, context, steps)
    return context.demonstrations


def _require_expert(method: type[Method], trial: Trial, context: TrialContext) -> None:
    """Raises MethodError where a method that queries the demonstrator has none."""
    if method.needs_expert and context.expert is None:
        missing = (
            f"{trial.task} has none: its environment needs a method make_expert(rng)"
            if trial.budget.expert_queries
            else "the budget has no expert_queries"
        )
        raise MethodError(f"{trial.method} queries the task's demonstrator, but {missing}")


def _close(context: TrialContext, emit: Emit) -> None:
    """Close the environments; what goes wrong then is no fault of the method's."""
    try:
        context.close()
    except Exception as problem:
        emit(Notice(text=f"an environment could not be closed ({type(problem).__name__}: {problem})"))


def _printable(text: str) -> str:
    """Text that can be encoded, whatever names of files an error quotes."""
    return text.encode(errors="backslashreplace").decode()


def _verdict(problem: BaseException, context: TrialContext | None) -> tuple[str, str]:
    """The status and error of a trial that raised this."""
    if context is not None and context.left_process:  # what is raised here then only says that the other one ended
        return "failed", ELSEWHERE
    if isinstance(problem, SystemExit):
        return "failed", f"the method called sys.exit({problem.code!r}); raise a MethodError to refuse a trial"
    if isinstance(problem, Diverged | SimulationUnstable):
        return "diverged", str(problem)
    if isinstance(problem, MethodError | DemonstrationError):
        return "failed", str(problem)
    traceback.print_exception(problem)  # in full, into the log
    return "failed", _explain(problem)


def _check_code(request: TrialRequest) -> None:
    method = registry.resolve(request.trial.method)
    if provenance.digest(provenance.source_files(method, request.trial.task)) != request.code_digest:
        raise CodeChanged("source files of this trial changed after the run was started; repeat it with --retry-failed")


def _demonstrations(trial: Trial) -> Demonstrations:
    choice = trial.demonstrations
    whole = load_task(trial.task) if choice.source == "shipped" else load(choice.source)
    if whole.digest != choice.digest:
        raise DemonstrationError(f"{choice.source} demonstrations of {trial.task} changed since the run was planned")
    return select(whole, choice)


def _seed_libraries(seeds: SeedStreams) -> None:
    """Methods use their own streams; this keeps a library that uses a global one from being random."""
    random.seed(seeds.integer("python"))
    np.random.seed(seeds.integer("numpy"))
    torch.manual_seed(seeds.integer("torch"))


def _explain(problem: BaseException) -> str:
    """One line that says what happened, then the end of the traceback with paths relative to the source."""
    lines = "".join(traceback.format_exception(problem)).replace(f"{provenance.ROOT}{os.sep}", "").splitlines()
    summary = f"{type(problem).__name__}: {problem}".splitlines()[0]
    return "\n".join([summary, *lines[-TRACEBACK_LINES:]])


def obey_runner(requests: BinaryIO, stop: threading.Event) -> None:
    """Set `stop` where the runner asks for it, and end this process and its children with the runner."""

    def listen() -> None:
        while line := requests.readline():
            if line == STOP:
                stop.set()
        if os.getpid() == os.getpgrp():  # a session of its own, as the runner starts it
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


def redirect_output() -> BinaryIO:
    """Send whatever this process and its children print to standard error; returns the former standard output."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return channel


def _can_be_read(stream: BinaryIO) -> bool:
    """Whether something has been written to a pipe, or it has been closed."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout=0))


def main() -> None:
    """The process: see the module's docstring."""
    events = redirect_output()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)  # out of reach of the method and of what it starts
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    request = TrialRequest.model_validate_json(requests.readline())
    stop = threading.Event()
    if _can_be_read(requests) and requests.readline() == STOP:  # while this process still imported
        stop.set()
    obey_runner(requests, stop)
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text(PREFERRED_VICTIM)
    torch.set_num_threads(provenance.THREADS)

    def emit(event: Event) -> None:
        events.write(event.model_dump_json().encode() + b"\n")
        events.flush()

    try:
        events.write(perform(request, emit, stop).to_bytes())
    except Stopped as stopped:
        emit(Interrupted(unsaved=str(stopped)))
    except RunError as problem:
        emit(Abort(reason=str(problem)))
    events.close()


if __name__ == "__main__":
    main()
