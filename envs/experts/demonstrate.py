"""The command line that records, describes and films demonstrations of the scripted expert."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import mujoco
import numpy as np

from envs import TASKS
from envs.commands import Command
from envs.demonstrations import DemonstrationError, Demonstrations, load, save
from envs.experts.kinesthetic import demonstrator
from envs.experts.render import film, write_video
from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import InsertionEnv

_DEFAULTS = ExpertSettings()


def collect(
    task: str,
    episodes: int,
    seed: int,
    settings: ExpertSettings | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Demonstrations:
    """Records successful episodes of the expert; failed attempts are left out, but counted in `origin`.

    task: a name of `envs.TASKS`. settings: those of the task's demonstrator, its own if None. progress: called with 1
    after each recorded episode.
    The same seed gives the same bytes on the same platform with the same versions, and the first k of n episodes are
    those of a shorter recording. Raises DemonstrationError where the expert fails more often than it succeeds.
    """
    teacher = demonstrator(task)
    settings = settings or teacher.settings
    env = teacher.environment()
    trajectories: list[tuple[list[np.ndarray], list[np.ndarray] | None]] = []
    reset_seeds: list[int] = []
    attempts = 0
    while (kept := len(trajectories)) < episodes:
        if attempts > 20 + 2 * kept:
            raise DemonstrationError(
                f"the expert succeeded in {kept} of {attempts} attempts: lower the noise ({settings.noise})"
            )
        rng = np.random.default_rng([seed, attempts])
        attempts += 1
        reset_seed = int(rng.integers(2**31))
        states, moves, success = _attempt(env, teacher.expert(env, settings, rng), reset_seed)
        if success:
            trajectories.append((states, None if teacher.states_alone else moves))
            reset_seeds.append(reset_seed)
            progress(1)
    env.close()
    origin = {
        "made_by": "envs.demonstrate",  # as in the shipped files, whose digest it is part of
        "seed": seed,
        "expert": asdict(settings),
        "failed_attempts": attempts - episodes,
        "reset_seeds": reset_seeds,
        "versions": {"mujoco": mujoco.__version__, "numpy": np.__version__},
        "platform": f"{platform.system()} {platform.machine()}",
    } | ({"taught": "by hand, states alone"} if teacher.states_alone else {})
    return Demonstrations.from_trajectories(trajectories, TASKS[task], env.dt, origin)


def _attempt(env: InsertionEnv, expert: Expert, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
    """One episode: its states (one more than actions), its actions, and whether it succeeded."""
    observation, info = env.reset(seed=seed)
    states, moves = [observation], []
    while not info["end_reason"]:
        moves.append(expert.act())
        observation, _, _, _, info = env.step(moves[-1])
        states.append(observation)
    return states, moves, info["is_success"]


def summary(demonstrations: Demonstrations, ranges: bool = True) -> str:
    """A few lines for people: size, lengths, origin and, if wanted, the range of each number."""
    lengths = demonstrations.lengths
    origin = demonstrations.origin
    failed = origin.get("failed_attempts")
    judged = f" (all successful; {failed} failed attempts left out)" if failed is not None else ""
    by = [_words(origin.get(entry)) for entry in ("made_by", "device")]
    known = {
        "task": demonstrations.task,
        "episodes": f"{demonstrations.episodes}{judged}",
        "states": f"{len(demonstrations.observations)}, one every {demonstrations.dt:g} s",
        "length": f"median {np.median(lengths):.1f} s, from {lengths.min():.1f} to {lengths.max():.1f} s",
        "made by": ", ".join([*filter(None, by), f"seed {origin.get('seed', '?')}"]),
        "versions": ", ".join(filter(None, [_words(origin.get(entry)) for entry in ("versions", "platform")])),
        "expert": _words(origin.get("expert")),
        "digest": demonstrations.digest,
    }
    lines = [f"{name:<14}{text}" for name, text in known.items() if text]
    if demonstrations.actions is None:
        lines.append(f"{'actions':<14}none: states only")
    if ranges:
        lines.append("range         lowest ... highest")
        for name, array in (("observation", demonstrations.observations), ("action", demonstrations.actions)):
            for column, values in enumerate([] if array is None else array.T):
                lines.append(f"  {name:>11} {column:>2}  {values.min():9.3f} ... {values.max():9.3f}")
    return "\n".join(lines)


def _words(value: Any) -> str:
    """An entry of a file's origin, which may be anything that JSON holds."""
    return ", ".join(f"{name} {one}" for name, one in value.items()) if isinstance(value, dict) else str(value or "")


@click.command(cls=Command)
@click.option("--task", type=click.Choice(list(TASKS)), help="The task to record.")
@click.option(
    "--episodes", default=100, show_default=True, type=click.IntRange(min=1), help="Number of episodes to record."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The .npz file to write.")
@click.option("--noise", default=_DEFAULTS.noise, show_default=True, help="Level of the operator's noise.")
@click.option("--lag", default=_DEFAULTS.lag, show_default=True, help="The operator's reaction lag in s.")
@click.option(
    "--time-constant", default=_DEFAULTS.time_constant, show_default=True, help="Correlation time of the noise in s."
)
@click.option("--show", type=click.Path(path_type=Path), help="Describe this demonstration file instead of recording.")
@click.option("--video", type=click.Path(dir_okay=False, path_type=Path), help="Film the first episode: .gif or .mp4.")
def main(
    task: str | None,
    episodes: int,
    seed: int,
    out: Path | None,
    noise: float,
    lag: float,
    time_constant: float,
    show: Path | None,
    video: Path | None,
) -> None:
    """Records successful episodes of the scripted expert, or shows a file of them.

    The same options give the same bytes on the same platform with the same versions; the files that ship with the
    package were all made with `--task TASK --episodes 100 --seed 0`.
    """
    try:
        if show is not None:
            demonstrations = load(show)
        elif task is None or out is None:
            raise click.ClickException("give --task and --out to record, or --show FILE to describe a file")
        elif not out.parent.is_dir():
            raise click.ClickException(f"{out}: there is no folder {out.parent}; create it or choose another place")
        else:
            settings = replace(demonstrator(task).settings, noise=noise, lag=lag, time_constant=time_constant)
            with click.progressbar(length=episodes, label=f"Recording {TASKS[task]}") as bar:
                demonstrations = collect(task, episodes, seed, settings, bar.update)
            save(demonstrations, out)
        click.echo(summary(demonstrations))
        if video is not None:
            write_video(film(demonstrations), demonstrations.dt, video)
            click.echo(f"video         {video}")
    except (ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
