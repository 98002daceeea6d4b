"""Films trained policies: `python -m benchmarks.film DIR` replays rollouts of DIR's policies and films them.

For each label on each task it shows the best and the median policy, by the fraction of successful final rollouts with
sampled actions (deterministic ones if a policy cannot sample), at the median number of demonstrations. The rollout has
median length, successful or not, and must end as recorded. Films are written to DIR/videos; `films.csv` says what each
shows. A label with other settings or another kind of demonstrations in another experiment is filmed for each. `--prune`
films nothing and removes the films of trials that the plan no longer names or that other code trained again.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from statistics import median_high
from typing import Any

import click
import gymnasium
import numpy as np
from PIL import Image

from benchmarks.errors import one_line
from benchmarks.planning.reuse import fixed_part
from benchmarks.records.files import load_plan, load_record
from benchmarks.records.films import FOLDER, Film, keep_only, prune, read_films
from benchmarks.records.plans import Plan, PlanRow
from benchmarks.records.schema import (
    MODES,
    Mode,
    Record,
    RecordError,
    Rollout,
    canonical,
)
from benchmarks.trial import saved_policy
from benchmarks.trial.environments import is_shipped
from benchmarks.trial.evaluation import WIDTH, rollout_of
from benchmarks.trial.saved_policy import SavedPolicy
from envs import TASKS, tasks
from envs.commands import Command
from envs.insertion.errors import SimulationUnstable
from envs.tasks import brief_name
from methods.env_group import Env, Episode, SingleEnvs, roll_out
from methods.interface import Diverged, MethodError
from methods.task_boundary import method_view

OPTIONS: dict[str, Any] = {"camera": "film", "width": 240, "height": 180}
"""Of shipped tasks; pictures of others are scaled to this width."""
INTERVAL = 0.2
"""Seconds between two frames."""
LONGEST = 12.0
"""Seconds of a film; longer rollouts are sped up by a whole number."""
REST = 1000
"""Milliseconds for which the last frame is shown."""


class FilmError(Exception):
    """A rollout cannot be filmed; the message says why."""


class NoPictures(Exception):
    """No picture can be drawn on this machine; the message says why."""


@dataclass(frozen=True)
class Shot:
    """A rollout to film.

    Attributes:
        label: of the trial in the plan, with its experiments where the label means something else in others.
        policy: "best" or "median" of `seeds` trials.
        seeds: how many there are.
        record: of the trial.
        ambiguous: whether another shot would have the same file name.
    """

    label: str
    policy: str
    seeds: int
    record: Record
    ambiguous: bool = False

    @property
    def mode(self) -> Mode:
        """Which actions are shown."""
        return _mode(self.record)

    @property
    def rollout(self) -> Rollout:
        """The one that is filmed: of median length among the first of each batch, whose noise depends on nothing."""
        firsts = self.record.final[self.mode][::WIDTH]
        return sorted(firsts, key=lambda rollout: rollout.seconds)[(len(firsts) - 1) // 2]

    @property
    def name(self) -> str:
        """Of its file."""
        trial = self.record.trial
        words = f"{brief_name(trial.task)} {self.label} {trial.demonstrations.episodes} demos {self.policy}"
        told_apart = f"-{hashlib.sha256(f'{words} {trial.id}'.encode()).hexdigest()[:8]}" if self.ambiguous else ""
        return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-") + told_apart + ".webp"

    @property
    def speed(self) -> int:
        """Playback speed-up factor."""
        return max(1, ceil(self.rollout.seconds / LONGEST))

    @property
    def film(self) -> Film:
        """Its entry in the list of films."""
        trial, rollout = self.record.trial, self.rollout
        return Film(
            file=self.name,
            task=trial.task,
            label=self.label,
            demonstrations=trial.demonstrations.episodes,
            policy=self.policy,
            seeds=self.seeds,
            seed=trial.seed,
            share=self.record.success(self.mode),
            trial=trial.id,
            code=self.record.provenance.code_digest,
            actions=self.mode,
            rollout_seed=rollout.seed,
            success=rollout.success,
            end=rollout.end,
            seconds=rollout.seconds,
            speed=self.speed,
        )


def _mode(record: Record) -> Mode:
    return next(mode for mode in MODES if mode in record.final)


def shots(plan: Plan, records: Iterable[Record]) -> list[Shot]:
    """What to film: the best and the median policy of each task and label; see the module's docstring."""
    by_id = {record.trial.id: record for record in records if record.status == "ok"}
    variants: dict[tuple[str, str], dict[bytes, list[PlanRow]]] = {}
    for row in plan.rows:
        if row.trial in by_id:
            settings = canonical(fixed_part(by_id[row.trial].trial))
            variants.setdefault((row.task, row.label), {}).setdefault(settings, []).append(row)
    chosen = []
    for (_, label), different in variants.items():
        for rows in different.values():
            experiments = f" ({', '.join(dict.fromkeys(row.experiment for row in rows))})" if len(different) > 1 else ""
            trained = [by_id[trial] for trial in dict.fromkeys(row.trial for row in rows)]
            middle = median_high(sorted({record.trial.demonstrations.episodes for record in trained}))
            same = [record for record in trained if record.trial.demonstrations.episodes == middle]
            ranked = sorted(same, key=lambda record: (-record.success(_mode(record)), record.trial.seed))
            chosen.append(Shot(label + experiments, "best", len(ranked), ranked[0]))
            if len(ranked) > 1:
                chosen.append(Shot(label + experiments, "median", len(ranked), ranked[len(ranked) // 2]))
    names = Counter(shot.name for shot in chosen)
    return [replace(shot, ambiguous=names[shot.name] > 1) for shot in chosen]


def film(shot: Shot, saved: SavedPolicy) -> list[Image.Image]:
    """The frames of a rollout, `INTERVAL` seconds apart at the speed of the shot.

    Raises:
        FilmError: it does not go as recorded, or the task cannot be made or does not draw itself.
        NoPictures: nothing can be drawn on this machine.
        MethodError: the policy was trained for another task.
    """
    trial, rollout, dt = shot.record.trial, shot.rollout, saved.description.dt
    identity = trial.task.rpartition(":")[2]
    if identity not in gymnasium.registry:
        raise FilmError(
            f"{trial.task} is unknown, and a film imports nothing on its own; name it with --task {trial.task}"
        )
    options = OPTIONS if identity in TASKS.values() else {}
    stride = max(1, round(shot.speed * INTERVAL / dt))
    frames: list[Image.Image] = []
    with opened(identity, saved, render_mode="rgb_array", **options) as environment:

        def draw(step: int) -> None:
            if step % stride == 0:
                frames.append(drawn(environment, OPTIONS["width"]))

        episode = episode_of(saved, environment, rollout.seed, shot.mode, WIDTH, draw)
        if len(episode.actions) % stride:
            frames.append(drawn(environment, OPTIONS["width"]))
        found = rollout_of(episode, dt, environment)
    if (found.success, found.seconds, found.end) != (rollout.success, rollout.seconds, rollout.end):
        raise FilmError(
            f"trial {trial.id}: the rollout ends after {found.seconds:g} s ({found.end}), the record says "
            f"{rollout.seconds:g} s ({rollout.end}); libraries, processor or code are not those it was made with"
        )
    return frames


def episode_of(
    saved: SavedPolicy, environment: Env, seed: int, mode: Mode, width: int, after_step: Callable[[int], None]
) -> Episode:
    """An episode of a saved policy in an environment as methods see it.

    Args:
        saved, environment: what acts, and where.
        seed: of the environment's reset, and of the policy's noise.
        mode: which actions are taken.
        width: rows of the batches in which the policy acts; its noise depends on their number.
        after_step: see `roll_out`.
    """
    (episode,) = roll_out(
        SingleEnvs([environment], unstable=(SimulationUnstable,)),
        saved.policy,
        [seed],
        action_size=len(saved.description.action_low),
        width=width,
        deterministic=mode == "mean",
        rng=np.random.default_rng(seed),
        after_step=after_step,
    )
    return episode


@contextmanager
def opened(task: str, saved: SavedPolicy, **options: Any) -> Iterator[Env]:
    """A task's environment as the saved policy sees it, closed at the end.

    Raises:
        FilmError: it cannot be made with these options.
        MethodError: the policy was trained for another one.
    """
    try:
        environment = tasks.make(task, **options)
    except tasks.TaskError as error:
        raise FilmError(one_line(str(error))) from None
    try:
        saved.require_fits(environment)
        yield environment if is_shipped(environment) else method_view(environment, task, saved.description.horizon)
    finally:
        environment.close()


def drawn(environment: Env, width: int) -> Image.Image:
    """A picture of an environment made with render_mode="rgb_array", scaled to `width`.

    Raises:
        FilmError: the task does not draw itself.
        NoPictures: nothing can be drawn on this machine.
    """
    name = environment.spec.id if environment.spec else str(environment)
    try:
        found: Any = environment.render()
    except NotImplementedError:
        found = None
    except Exception as error:  # each OpenGL library, and each task, fails in its own way
        hint = "" if "MUJOCO_GL" in str(error) else "; without a display, set MUJOCO_GL=egl or MUJOCO_GL=osmesa"
        raise NoPictures(one_line(f"{name} cannot be drawn ({error}){hint}")) from error
    if not isinstance(found, np.ndarray):
        raise FilmError(f"{name} draws no pictures with render_mode='rgb_array'")
    picture = Image.fromarray(found)
    return picture if picture.width == width else picture.resize((width, picture.height * width // picture.width))


def draw_without_display() -> None:
    """Let MuJoCo draw by EGL where there is no display; call it before MuJoCo is imported."""
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")


def has_display() -> bool:
    """Whether windows can be shown."""
    return not sys.platform.startswith("linux") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def make_films(
    directory: str | os.PathLike[str], methods: Sequence[str] = ()
) -> Iterator[tuple[Shot, Path | FilmError]]:
    """Film what a results folder holds, write the list, and yield for each shot its file or why there is none.

    A film of the same trial and code that is there already is kept; films of others are removed. `methods` may be
    imported to load their policies, see `saved_policy.load`.

    Raises:
        RecordError, OSError: there is no plan, or the folder cannot be written.
        NoPictures: nothing can be drawn here. Films and list are left as they were.
    """
    directory = Path(directory)
    plan = load_plan(directory / "plan.json")
    records = (_record(directory, trial) for trial in dict.fromkeys(row.trial for row in plan.rows))
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    try:
        earlier = {film.file: film for film in read_films(directory)}
    except RecordError:
        earlier = {}  # a damaged list is written again
    listed: list[Film] = []
    for shot in shots(plan, (record for record in records if record)):
        path = folder / shot.name
        if not (path.is_file() and earlier.get(shot.name) == shot.film):
            try:
                saved = saved_policy.load(directory / "policies" / shot.record.trial.id, methods)
                frames = film(shot, saved)
            except (MethodError, FilmError, Diverged) as error:
                path.unlink(missing_ok=True)
                yield shot, FilmError(str(error))
                continue
            save(frames, path, INTERVAL)
        listed.append(shot.film)
        yield shot, path
    keep_only(directory, listed)


def save(frames: list[Image.Image], path: Path, interval: float) -> None:
    """Write frames `interval` seconds apart as .webp, .gif or, with imageio-ffmpeg installed, .mp4.

    Raises:
        FilmError: the file has another ending, its plug-in is missing, or it cannot be written.
    """
    check_film_file(path)
    try:
        if path.suffix == ".mp4":
            import imageio.v3 as imageio

            repeated = [*frames, *[frames[-1]] * round(REST / 1000 / interval)]
            imageio.imwrite(path, np.array([np.asarray(frame) for frame in repeated]), fps=1.0 / interval)
            return
        pauses = [round(1000 * interval)] * (len(frames) - 1) + [REST]
        options: dict[str, Any] = {"quality": 60, "method": 4} if path.suffix == ".webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=pauses, loop=0, **options)
    except OSError as error:
        raise FilmError(f"{path}: cannot be written ({error.strerror or error})") from None


def check_film_file(path: Path) -> None:
    """Raises FilmError where a film cannot be written to this path; call it before anything is drawn."""
    if path.suffix not in (".webp", ".gif", ".mp4"):
        raise FilmError(f"{path}: a film's name ends in .webp, .gif or .mp4")
    if path.suffix == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise FilmError(f"{path}: .mp4 needs imageio-ffmpeg: pip install imageio-ffmpeg, or choose .webp or .gif")
    if not path.absolute().parent.is_dir():
        raise FilmError(f"{path}: there is no folder {path.parent}; create it or choose another place")


def _record(directory: Path, trial: str) -> Record | None:
    try:
        return load_record(directory / "records" / f"{trial}.json")
    except (RecordError, OSError):
        return None


def _codes(directory: Path) -> dict[str, str]:
    """The digest of the code behind each planned trial that has a record."""
    trials = {row.trial: _record(directory, row.trial) for row in load_plan(directory / "plan.json").rows}
    return {trial: record.provenance.code_digest for trial, record in trials.items() if record}


@click.command(cls=Command)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--task", "names", multiple=True, metavar="NAME", help="Import your own task: module:Id or file.py:Id.")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Import your own method: file.py:Class.")
@click.option("--prune", "pruned", is_flag=True, help="Film nothing; remove films of trials that are no longer there.")
def main(directory: Path, names: tuple[str, ...], methods: tuple[str, ...], pruned: bool) -> None:
    """Film the best and the median policy of each method on each task of DIRECTORY."""
    draw_without_display()
    try:
        if pruned:
            for path in prune(directory, _codes(directory)):
                click.echo(f"{path}: removed")
            return
        for name in names:
            tasks.find(name)
        for shot, outcome in make_films(directory, methods):
            click.echo(f"{shot.name}: not filmed: {outcome}" if isinstance(outcome, FilmError) else outcome)
    except OSError as error:
        raise click.ClickException(f"{error.filename or directory}: {error.strerror}") from None
    except (RecordError, NoPictures, tasks.TaskError, MethodError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
