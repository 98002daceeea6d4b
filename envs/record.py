"""Records demonstrations of any registered task: by keyboard, by gamepad, or with a policy.

    python -m envs.record --task clip --keyboard --out mine.npz

Every successful episode is saved at once. The same command adds to the file until it holds `--episodes` episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from envs import TASKS, WITH_ACTIONS, tasks
from envs.commands import Command, plural
from envs.demonstrations import DemonstrationError
from envs.experts.recording import Actor, Env, Recording, blamed, dt_of, record
from envs.interrupts import INTERRUPTED
from envs.loading import LoadError, load_module
from envs.tasks import TaskError


def expert_of(env: Env, task: str, policy: str, rng: np.random.Generator) -> Actor:
    """The actor that `--policy` names.

    Args:
        env: the environment it acts in.
        task: its Gymnasium id.
        policy: "expert" for the task's own demonstrator, or "file.py:Name" or "module:Name" of something that is called
            with the unwrapped environment and a NumPy generator and returns an object with `reset()` and `act()` or
            `act(observation)`.
        rng: the actor's randomness.

    Raises:
        DemonstrationError: there is no such thing, or making it failed.
    """
    inside: Any = env.unwrapped
    if policy != "expert":
        make, call = partial(_named(policy), inside), f"{policy}(environment, generator)"
    elif callable(own := getattr(inside, "make_expert", None)):
        make, call = own, f"make_expert(generator) of {task}"
    else:
        make, call = partial(_shipped_expert(task), inside), f"the expert of {task}"
    with blamed(call):
        actor = make(rng)
    for method in ("reset", "act"):
        if not callable(getattr(actor, method, None)):
            raise DemonstrationError(
                f"what {call} returns, of type {type(actor).__name__}, has no method {method}(); reset() and act() are "
                "needed"
            )
    return actor


def _named(policy: str) -> Callable[..., Actor]:
    """What "file.py:Name" or "module:Name" names; raises DemonstrationError."""
    place, _, name = policy.rpartition(":")
    if not place:
        raise DemonstrationError(f"--policy {policy!r}: 'expert', file.py:Name or module:Name is needed")
    try:
        factory: Callable[..., Actor] | None = getattr(load_module(place), name, None)
    except LoadError as error:
        raise DemonstrationError(str(error)) from error
    if not callable(factory):
        raise DemonstrationError(f"{place} has nothing called {name!r} that can be called")
    return factory


def _shipped_expert(task: str) -> Callable[..., Actor]:
    """The demonstrator of one of our tasks; raises DemonstrationError where there is none with actions."""
    name = next((short for short, identity in WITH_ACTIONS.items() if identity == task), None)
    if name is None:
        by_hand = "; it is taught by hand: use python -m envs.experts.demonstrate" if task in TASKS.values() else ""
        raise DemonstrationError(f"{task} has no expert with actions{by_hand}")
    from envs.experts.kinesthetic import demonstrator

    chosen = demonstrator(name)
    return lambda inside, rng: chosen.expert(inside, chosen.settings, rng)


def _make(task: str, render_mode: str | None) -> Env:
    """The task's environment, with a picture where it can draw one."""
    if render_mode == "rgb_array" and "rgb_array" not in tasks.render_modes(task):
        render_mode = None
    return tasks.make(task, **({"render_mode": render_mode} if render_mode else {}))


@click.command(cls=Command, help=__doc__)
@click.option("--task", required=True, help="clip, peg, ..., any Gymnasium id, module:Id or file.py:Id.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The .npz file.")
@click.option("--keyboard", "device", flag_value="keyboard", help="Move the robot with the keyboard.")
@click.option("--gamepad", "device", flag_value="gamepad", help="Move it with a gamepad.")
@click.option("--policy", metavar="file.py:Name", help="Let a policy act; 'expert' is the task's own demonstrator.")
@click.option(
    "--episodes",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    help="Episodes that the file should hold in the end.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the starts.")
@click.option(
    "--jogging",
    type=click.Choice(["cartesian", "joints"]),
    help="Move the tip, or each component of the action. [default: cartesian for the insertion tasks]",
)
@click.option("--dt", type=click.FloatRange(min=0, min_open=True), help="Control period in s, if the task has no `dt`.")
@click.option("--viewer", is_flag=True, help="Show the task's own window as well, such as MuJoCo's viewer.")
def main(
    task: str,
    out: Path,
    device: str | None,
    policy: str | None,
    episodes: int,
    seed: int,
    jogging: Any,
    dt: float | None,
    viewer: bool,
) -> int:
    if (device is None) == (policy is None):
        raise click.ClickException("give one of --keyboard, --gamepad and --policy")
    if policy is not None and jogging is not None:
        raise click.ClickException("--jogging is for --keyboard and --gamepad; a policy chooses its own actions")
    recording = env = None
    try:
        identity = tasks.find(task).id
        env = _make(task, "human" if viewer else "rgb_array" if device else None)
        recording = Recording(out, env, identity, dt_of(env, identity, dt), seed, device or f"policy {policy}")
        before = recording.episodes
        if policy is not None:
            actor = expert_of(env, identity, policy, np.random.default_rng([seed, before, recording.discarded]))
            with click.progressbar(length=max(episodes - before, 0), label=f"Recording {identity}") as bar:
                record(env, actor, recording, episodes, bar.update)
        else:
            try:
                from envs.experts.teleoperation import Teleoperation
            except ImportError as error:
                raise click.ClickException(f"--{device} needs pygame ({error}): pip install pygame") from error
            Teleoperation(env, recording, device, jogging).run(episodes)  # type: ignore[arg-type]
        added = recording.episodes - before
        if not recording.episodes:
            click.echo(f"nothing was recorded, so {out} was not written")
            return 0
        attempts = f"discarded attempts: {recording.discarded}"
        click.echo(f"{out}: {plural(recording.episodes, 'episode')}, {added} of them new; {attempts}")
        if before >= episodes:
            click.echo(f"It had {plural(before, 'episode')} already: to add to it, ask for more with --episodes.")
        from envs.experts.demonstrate import summary

        click.echo(summary(recording.demonstrations(), ranges=False))
        return 0
    except (DemonstrationError, TaskError) as error:
        kept = recording.episodes if recording else 0
        note = f"; {out} keeps {plural(kept, 'episode')}" if kept else ""
        raise click.ClickException(f"{error}{note}") from error
    except KeyboardInterrupt:
        kept = recording.episodes if recording else 0
        click.echo(f"stopped with {plural(kept, 'episode')} in {out}; the same command adds to it", err=True)
        return INTERRUPTED
    finally:
        if env is not None:
            env.close()


if __name__ == "__main__":
    main()
