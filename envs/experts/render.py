"""Films recorded episodes, and draws the pictures of the documentation."""

from __future__ import annotations

from pathlib import Path

import click
import imageio.v3 as imageio
import numpy as np

from envs import PAPER_TASKS, TASKS
from envs.commands import Command
from envs.demonstrations import DemonstrationError, Demonstrations
from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import make_env
from envs.insertion.parameters import JOINTS

# A socket turned so that the close-up camera looks through its clear side, across the clip's prongs.
_POSE = {"pan": 0.4, "tilt": 0.1}
_VIEWS = {"overview": ("before",), "closeup": ("before", "after")}


def film(demonstrations: Demonstrations) -> list[np.ndarray]:
    """Plays the first recorded episode again and returns its frames [360, 480, 3] uint8, one a step.

    Where only states are known, the arm is put where they say. Raises DemonstrationError for anything but a whole
    recording of a task of `envs.TASKS`.
    """
    if demonstrations.task not in TASKS.values():
        raise DemonstrationError(f"only recordings of the shipped tasks can be filmed, not of {demonstrations.task}")
    seeds = demonstrations.origin.get("reset_seeds", [])
    if len(seeds) != demonstrations.episodes or "subsets" in demonstrations.origin:
        raise DemonstrationError(
            "only a whole recording can be filmed: this file does not name the start of each episode"
        )
    env = make_env(demonstrations.task, width=480, height=360)
    env.reset(seed=seeds[0])
    frames = [env.picture()]
    shown = demonstrations.episode == 0
    if demonstrations.actions is None:
        for observation in demonstrations.observations[shown][1:]:
            env.data.qpos[:JOINTS] = observation[:JOINTS]
            frames.append(env.picture())
    else:
        for action in demonstrations.actions[shown & ~demonstrations.terminal]:
            env.step(action)
            frames.append(env.picture())
    env.close()
    return frames


def write_video(frames: list[np.ndarray], dt: float, path: Path) -> None:
    """Writes frames that are `dt` seconds apart as a .gif or, where imageio has a plug-in for it, an .mp4.

    Raises DemonstrationError.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise DemonstrationError(f"{path}: the name must end in .gif or .mp4")
    try:
        if path.suffix == ".gif":
            imageio.imwrite(path, frames, duration=1000 * dt, loop=0)
        else:
            imageio.imwrite(path, frames, fps=1 / dt)
    except ImportError as error:
        raise DemonstrationError(
            f"{path}: imageio needs imageio-ffmpeg for this (pip install it, or choose .gif)"
        ) from error
    except OSError as error:
        raise DemonstrationError(f"{path}: cannot be written ({error})") from error


def picture(task: str, camera: str, moment: str) -> np.ndarray:
    """The scene [480, 640, 3] uint8 `before` or `after` a perfect insertion. task: a name of `envs.TASKS`."""
    env = make_env(task, camera=camera)
    _, info = env.reset(seed=1, options=_POSE)
    expert = Expert(env, ExpertSettings(noise=0), np.random.default_rng(0))
    while not info["end_reason"] and (moment == "after" or info["depth"] < -0.022):
        *_, info = env.step(expert.act())
    image = env.picture()
    env.close()
    return image


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path))
def main(folder: Path) -> None:
    """Draws the documentation's pictures of clip and peg into FOLDER."""
    for task in PAPER_TASKS:  # the others look like the peg
        for camera, moments in _VIEWS.items():
            for moment in moments:
                path = folder / (f"{task}_{camera}_{moment}.png" if len(moments) > 1 else f"{task}_{camera}.png")
                imageio.imwrite(path, picture(task, camera, moment), optimize=True)
                click.echo(path)


if __name__ == "__main__":
    main()
