"""Checks that a method, or a task, keeps the suite's contract: `python -m methods.check NAME` or `--task ID`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from envs.commands import Command
from methods.conformance.checks import BUDGET, check_method
from methods.conformance.results import Result
from methods.interface import Budget, MethodError, SettingsError
from methods.registry import resolve


def parse_values(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings from "KEY=VALUE" strings; values are JSON, anything else is text.

    Raises:
        SettingsError: one of them has another form.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (key and equals):
            raise SettingsError(f"--set {assignment!r}: write it as SETTING=VALUE, for example gamma=0.95")
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--task", help="Check a task instead: a short name, a Gymnasium id, module:Id or file.py:Id.")
@click.option(
    "--demonstrations", type=click.Path(path_type=Path), help="With --task: a demonstration file that must match it."
)
@click.option(
    "--set", "assignments", multiple=True, metavar="SETTING=VALUE", help="Change a setting of NAME; may be repeated."
)
@click.option("--environment-steps", default=BUDGET.environment_steps, show_default=True, help="Per training run.")
@click.option("--policy-updates", default=BUDGET.policy_updates, show_default=True, help="Per training run.")
@click.option("--expert-queries", default=BUDGET.expert_queries, show_default=True, help="Per training run.")
def main(
    name: str | None,
    task: str | None,
    demonstrations: Path | None,
    assignments: tuple[str, ...],
    environment_steps: int,
    policy_updates: int,
    expert_queries: int,
) -> None:
    """Check that the method NAME (a name, module:Class or file.py:Class), or a task, keeps the suite's contract.

    A method is trained a few times on a small task, with its `small` settings; nothing is said about how well it
    learns. A task is reset and stepped with random actions.
    """
    budget = Budget(environment_steps, policy_updates, expert_queries)
    try:
        results = _results(name, task, demonstrations, assignments, budget)
    except MethodError as error:
        raise click.ClickException(str(error)) from None
    begun, kept, broken = perf_counter(), 0, 0
    for result in results:
        kept, broken = kept + (not result.problem), broken + bool(result.problem)
        click.echo(f"FAIL  {result.promise}: {result.problem}" if result.problem else f"ok    {result.promise}")
        if result.remark:
            click.echo(f"      note: {result.remark}")
    click.echo(f"{kept} kept, {broken} broken, in {perf_counter() - begun:.1f} s")
    raise SystemExit(bool(broken))


def _results(
    name: str | None, task: str | None, demonstrations: Path | None, assignments: Sequence[str], budget: Budget
) -> Iterator[Result]:
    if (name is None) == (task is None):
        raise MethodError("name one thing to check: a method, as methods.check mine.py:Mine, or a task, as --task ID")
    if task is not None:
        from methods.conformance.tasks import check_task

        return check_task(task, demonstrations)
    if demonstrations is not None:
        raise MethodError("--demonstrations belongs to --task; methods are checked on built-in demonstrations")
    method, values = resolve(str(name)), parse_values(assignments)
    import torch  # here, so that wrong names are refused at once

    torch.set_num_threads(1)  # as in a trial; with more, sums are not the same every time
    return check_method(method, values, budget)


if __name__ == "__main__":
    main()
