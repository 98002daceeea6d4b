"""Parts that all commands that run trials share: options, the number of jobs, and how a command ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from benchmarks.errors import InputError, RunError, RunStopped, one_line
from benchmarks.execution.console import say, show_command
from benchmarks.execution.signals import interrupt_once
from benchmarks.planning.options import CheckedOption
from envs.interrupts import INTERRUPTED
from methods import registry
from methods.interface import MethodError

option = partial(click.option, cls=CheckedOption)
RUNS = Path("results") / "runs"
"""Where runs go by default; what lies beside it in the repository are the suite's own results, the reference."""


def name_list(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names of a comma-separated list; a comma in the path of a file that exists does not separate."""
    try:
        return () if value is None else registry.split(value)
    except MethodError:
        raise click.BadParameter(f"{value!r} has an empty entry") from None


def method_list(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names of methods, groups of them, and files."""
    try:
        return () if value is None else registry.expand(registry.split(value))
    except MethodError as error:
        raise InputError(f"{parameter.opts[0]}: {error}") from None


def count_list(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers of a comma-separated list, each at least 1."""
    try:
        numbers = tuple(int(name) for name in name_list(context, parameter, value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers like 5,10,25") from None
    if any(number < 1 for number in numbers):
        raise click.BadParameter(f"{value!r} holds a number below 1")
    return numbers


def cores() -> int:
    """Cores this process may use; all of them where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_well(command: click.Command, module: str, arguments: Sequence[str] | None) -> int:
    """Run a command; returns 0, 1 where something went wrong, 2 for bad input, 130 after Ctrl-C or SIGTERM.

    Args:
        command: what to run; what it returns is the exit code.
        module: its name for `python -m`.
        arguments: None takes those of this process, whose signals are handled then.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None:
        interrupt_once()
    try:
        code = command.main(given, prog_name=f"python -m {module}", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        message, code = error.format_message(), 2
    except InputError as error:
        message, code = str(error), 2
    except RunError as error:
        message, code = str(error), 1
    except (RunStopped, KeyboardInterrupt, click.Abort) as stop:
        say(f"stopped: {stop}" if isinstance(stop, RunStopped) else "stopped; what is finished is kept")
        show_command("To resume:", ["python", "-m", module, *given])
        return INTERRUPTED
    say(f"error: {one_line(message)}")
    return code
