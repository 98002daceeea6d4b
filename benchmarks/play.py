"""Shows a trained policy: `python -m benchmarks.play --method gpril --task clip`.

It looks for saved policies in the shipped results, then in the newest run, and shows one in a window, or films it if
there is no display.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from PIL import Image

from benchmarks.errors import one_line
from benchmarks.film import (
    FilmError,
    NoPictures,
    check_film_file,
    draw_without_display,
    drawn,
    episode_of,
    has_display,
    opened,
)
from benchmarks.film import save as save_film
from benchmarks.records.files import load_record
from benchmarks.records.provenance import ROOT
from benchmarks.records.schema import MODE_WORDS, MODES, Mode, Record, RecordError
from benchmarks.trial import saved_policy
from benchmarks.trial.environments import is_shipped
from benchmarks.trial.evaluation import modes_of
from benchmarks.trial.saved_policy import Description, SavedPolicy
from envs import TASKS, tasks
from envs.commands import Command, plural
from methods.env_group import Env
from methods.interface import Diverged, MethodError

VIEW: dict[str, Any] = {"camera": "film", "width": 320, "height": 240}
"""Of shipped tasks; pictures of others are scaled to this width."""
INTERVAL = 0.2
"""Least seconds between two frames of a film."""


class PlayError(Exception):
    """Nothing can be shown; the message says why and what to do."""


@dataclass(frozen=True)
class Found:
    """A saved policy in a folder.

    Attributes:
        folder: of the policy.
        description: what lies beside it.
        record: of its trial, where that is in the same results.
    """

    folder: Path
    description: Description
    record: Record | None = None

    @property
    def success(self) -> float:
        """Fraction of successful final rollouts, by sampled actions if it can; 0 where that is not known."""
        mode = next((mode for mode in MODES if self.record and mode in self.record.final), None)
        return self.record.success(mode) if self.record and mode else 0.0

    def __str__(self) -> str:
        known = self.description
        words = f"{known.method} on {tasks.short_name(known.task)}, {plural(known.demonstrations, 'demonstration')}"
        return f"{words}, seed {known.seed}"


def results_folders(results: Path | None) -> list[Path]:
    """Where to look, in this order: the given folder; or the shipped results, then runs, the newest first."""
    if results is not None:
        return [results]
    root = Path("results") if Path("results").is_dir() else ROOT / "results"
    runs = sorted((root / "runs").glob("*/"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    return [folder for folder in (root / "quick", *runs) if (folder / "policies").is_dir()]


def found_in(results: str | os.PathLike[str]) -> list[Found]:
    """The saved policies of a results folder, or the one whose own folder this is; without those that are damaged."""
    results, found = Path(results), []
    for folder in [results] if (results / saved_policy.FILE).is_file() else sorted((results / "policies").glob("*/")):
        try:
            description = saved_policy.describe(folder)
        except MethodError:
            continue
        try:
            record = load_record(folder.parent.parent / "records" / f"{description.trial}.json")
        except (RecordError, OSError):
            record = None
        found.append(Found(folder, description, record))
    return found


def choose(folders: list[Path], method: str | None, task: str | None, seed: int | None) -> Found:
    """The median policy, by success, among those of most demonstrations that fit, in the first folder with one.

    Raises:
        PlayError: there is none.
    """
    others: dict[str, None] = {}
    for folder in folders:
        fitting = []
        for found in found_in(folder):
            known = found.description
            names = {known.task, known.task.rpartition(":")[2], tasks.short_name(known.task), None}
            if known.method in (method, method or known.method) and task in names and seed in (known.seed, None):
                fitting.append(found)
            others[str(found)] = None
        most = max((found.description.demonstrations for found in fitting), default=0)
        best = [found for found in fitting if found.description.demonstrations == most]
        if best:
            ranked = sorted(best, key=lambda found: (-found.success, found.folder.name))
            return ranked[len(ranked) // 2]
    asked = " ".join(f"--{key} {value}" for key, value in (("method", method), ("task", task), ("seed", seed)) if value)
    places = ", ".join(map(str, folders)) or "results/quick and results/runs"
    there = f"it has: {'; '.join(others)}" if others else "train one with python -m benchmarks.run, or give --results"
    raise PlayError(f"no saved policy {f'for {asked} ' if asked else ''}in {places}; {there}")


def show(saved: SavedPolicy, task: str, seeds: range, mode: Mode, path: Path | None) -> None:
    """Play episodes in a window or, with a `path`, into a film, and print how each ended.

    Raises:
        FilmError, NoPictures, MethodError, PlayError, Diverged: it cannot be shown.
    """
    options: dict[str, Any] = VIEW if task in TASKS.values() else {}
    stride = max(1, round(INTERVAL / saved.description.dt))
    frames: list[Image.Image] = []
    with opened(task, saved, render_mode="rgb_array" if path else "human", **options) as environment:
        if path is None:
            _open_window(environment)

        def draw(step: int) -> None:
            if path and step % stride == 0:
                frames.append(drawn(environment, VIEW["width"]))

        for seed in seeds:
            episode = episode_of(saved, environment, seed, mode, 1, draw)
            seconds = len(episode.actions) * saved.description.dt
            click.echo(f"episode with seed {episode.seed}: {episode.end} after {seconds:.1f} s")
            if path:
                frames.append(drawn(environment, VIEW["width"]))
    if path:
        save_film(frames, path, stride * saved.description.dt)
        click.echo(f"film: {path}")


def _open_window(environment: Env) -> None:
    try:
        if is_shipped(environment):
            _require_glfw()
        environment.reset(seed=0)
        environment.render()
    except Exception as error:  # each window system fails in its own way
        raise PlayError(one_line(f"no window can be opened ({error}); write a film with --film FILE")) from error


def _require_glfw() -> None:
    """Raises RuntimeError where MuJoCo's viewer would end this process because there is no window system."""
    import glfw

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not glfw.init():
            raise RuntimeError("; ".join(str(warning.message) for warning in caught) or "GLFW cannot be initialised")


@click.command(cls=Command)
@click.option("--method", help="Name of the method, or file.py:Class for your own.  [default: any]")
@click.option("--task", help="Short name or Gymnasium id, or module:Id or file.py:Id for your own.  [default: any]")
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A results folder or the folder of one policy.  [default: the shipped results, then the newest run]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of the training.  [default: the one with median success]"
)
@click.option("--episodes", default=1, show_default=True, type=click.IntRange(min=1), help="Number of episodes.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the first episode.")
@click.option(
    "--actions",
    type=click.Choice(list(MODE_WORDS.values())),
    help="Kind of actions.  [default: sampled if the policy can]",
)
@click.option(
    "--film",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a film (.webp, .gif, .mp4) instead of opening a window.",
)
def main(
    method: str | None,
    task: str | None,
    results: Path | None,
    seed: int | None,
    episodes: int,
    first: int,
    actions: str | None,
    film: Path | None,
) -> None:
    """Show a trained policy at work."""
    draw_without_display()
    try:
        if task:
            tasks.find(task)
        found = choose(results_folders(results), method, task, seed)
        known = found.description
        if film is None and not has_display():
            names = f"{known.method.rpartition(':')[2]}-{tasks.brief_name(known.task)}"
            film = Path(f"play-{names}.webp".replace("/", "-"))
        if film is not None:
            check_film_file(film)
        saved = saved_policy.load(found.folder, [method] if method else [])
        mode = next((mode for mode, word in MODE_WORDS.items() if word == actions), modes_of(saved.policy)[0])
        if mode not in saved.policy.modes:
            only = " and ".join(MODE_WORDS[mode] for mode in saved.policy.modes)
            raise PlayError(f"--actions {actions}: this policy has {only} actions only")
        rate = f", {100 * found.record.success(mode):.0f} % success in its evaluation" if found.record else ""
        click.echo(f"{found}{rate}, {MODE_WORDS[mode]} actions ({found.folder})")
        name = task or known.task
        if ":" in name and not task:
            raise PlayError(f"the task {name} is imported only if you name it: --task {name}")
        show(saved, TASKS.get(name, name), range(first, first + episodes), mode, film)
    except (PlayError, FilmError, NoPictures, MethodError, Diverged, tasks.TaskError, OSError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
