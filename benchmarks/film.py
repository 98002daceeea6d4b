"""Films of what was learnt: `python -m benchmarks.film DIR` plays roll-outs of DIR's policies again and films them.

Of each label on each task, the best and the median policy are shown, by the share of their successful final roll-outs
with sampled actions, at the number of demonstrations in the middle of those it was trained with. The film is of a
roll-out of middling length, whether it succeeded or not, step by step as it was recorded. Films lie in DIR/videos,
with `films.csv` to say what each shows. A label that stands for other settings or another kind of demonstrations in
another experiment is filmed for each.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import median_high
from typing import Any

import click
import gymnasium
import numpy as np
from PIL import Image

from benchmarks.errors import InputError, one_line
from benchmarks.planning.reuse import fixed_part
from benchmarks.planning.trials import resolve_task
from benchmarks.records.schema import (
    Mode,
    Plan,
    PlanRow,
    Record,
    RecordError,
    Rollout,
    canonical,
    load_plan,
    load_record,
)
from benchmarks.trial.evaluation import WIDTH
from envs import TASKS
from envs.insertion.errors import SimulationUnstable
from envs.tasks import short_name
from methods.interface import MethodError
from methods.policy import GaussianPolicy

FOLDER, LIST = "videos", "films.csv"
MODE: Mode = "sampled"
OPTIONS: dict[str, Any] = {"camera": "closeup", "width": 240, "height": 180}
"""Of our own tasks; pictures of others are made as wide."""
INTERVAL = 0.2
"""Seconds between two frames."""
LONGEST = 12.0
"""Seconds of a film; longer roll-outs are shown faster, by a whole number."""
REST = 1000
"""Milliseconds for which the last frame stays."""


class FilmError(Exception):
    """A roll-out cannot be filmed; the message says why."""


class NoPictures(Exception):
    """No picture can be drawn on this machine; the message says why."""


@dataclass(frozen=True)
class Take:
    """A roll-out to film.

    Attributes:
        label: of the trial in the plan, with its experiments where the label means something else in others.
        policy: "best" or "median" of `seeds` trials.
        seeds: how many there are.
        record: of the trial.
        twin: whether the name of its file would be another's as well.
    """

    label: str
    policy: str
    seeds: int
    record: Record
    twin: bool = False

    @property
    def rollout(self) -> Rollout:
        """The one that is filmed: of middling length among the first of each batch, whose noise depends on nothing."""
        firsts = self.record.final[MODE][::WIDTH]
        return sorted(firsts, key=lambda rollout: rollout.seconds)[(len(firsts) - 1) // 2]

    @property
    def name(self) -> str:
        """Of its file."""
        trial = self.record.trial
        words = f"{short_name(trial.task)} {self.label} {trial.demonstrations.episodes} demos {self.policy}"
        told_apart = f"-{hashlib.sha256(f'{words} {trial.id}'.encode()).hexdigest()[:8]}" if self.twin else ""
        return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-") + told_apart + ".webp"

    @property
    def speed(self) -> int:
        """How many times as fast as it was the roll-out is shown."""
        return max(1, ceil(self.rollout.seconds / LONGEST))

    @property
    def row(self) -> dict[str, Any]:
        """What the list says about it."""
        trial, rollout = self.record.trial, self.rollout
        whose = {"task": trial.task, "label": self.label, "demonstrations": trial.demonstrations.episodes}
        which = {"policy": self.policy, "seeds": self.seeds, "seed": trial.seed, "share": self.record.success(MODE)}
        ended = {"success": rollout.success, "end": rollout.end, "seconds": rollout.seconds, "speed": self.speed}
        made = {"trial": trial.id, "code": self.record.provenance.code_digest}
        played = {"actions": MODE, "rollout_seed": rollout.seed}
        return {"file": self.name, **whose, **which, **made, **played, **ended}


def takes(plan: Plan, records: Iterable[Record]) -> list[Take]:
    """What to film: of each task and label the best and the median policy; see the module's docstring."""
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
            found = [by_id[trial] for trial in dict.fromkeys(row.trial for row in rows)]
            middle = median_high(sorted({record.trial.demonstrations.episodes for record in found}))
            same = [record for record in found if record.trial.demonstrations.episodes == middle]
            ranked = sorted(same, key=lambda record: (-record.success(MODE), record.trial.seed))
            chosen.append(Take(label + experiments, "best", len(ranked), ranked[0]))
            if len(ranked) > 1:
                chosen.append(Take(label + experiments, "median", len(ranked), ranked[len(ranked) // 2]))
    names = Counter(take.name for take in chosen)
    return [replace(take, twin=names[take.name] > 1) for take in chosen]


def film(take: Take, policy: GaussianPolicy) -> list[Image.Image]:
    """The frames of a roll-out, `INTERVAL` seconds apart at the speed of the take.

    Raises:
        FilmError: it does not go as it was recorded, or the task cannot be made, tells no seconds of a step or does not
            draw itself.
        NoPictures: none can be drawn here.
    """
    trial, rollout = take.record.trial, take.rollout
    options = OPTIONS if trial.task in TASKS.values() else {}
    identity = trial.task.rpartition(":")[2]
    if identity not in gymnasium.registry:
        raise FilmError(f"{trial.task} is not known here, and what a record names is not imported: --task {trial.task}")
    try:
        env = gymnasium.make(identity, render_mode="rgb_array", disable_env_checker=True, **options)
    except Exception as error:  # whatever somebody's task raises where it is not installed or draws nothing
        raise FilmError(
            f"{trial.task} cannot be made with render_mode='rgb_array' ({type(error).__name__}: {one_line(str(error))})"
        ) from None
    if (dt := getattr(env.unwrapped, "dt", None)) is None:
        raise FilmError(f"{trial.task} does not tell the seconds of a step, dt")
    rng, stride = np.random.default_rng(rollout.seed), max(1, round(take.speed * INTERVAL / dt))
    observation, _ = env.reset(seed=rollout.seed)
    frames = [_frame(env)]
    step, over = 0, False
    info: dict[str, Any] = {}
    while not over:
        # As `benchmarks.trial.evaluation` does: a batch of so many rows, since other numbers of rows round differently.
        actions = policy.act(np.repeat(observation[None].astype(np.float32), WIDTH, axis=0), MODE == "mean", rng)
        observation, _, terminated, truncated, info = env.step(actions[0])
        step, over = step + 1, bool(terminated or truncated)
        if over or step % stride == 0:
            frames.append(_frame(env))
    env.close()
    if (bool(info["is_success"]), round(step * dt, 6)) != (rollout.success, rollout.seconds):
        raise FilmError(
            f"trial {trial.id}: the roll-out ends after {step * dt:g} s, the record says {rollout.seconds:g} s "
            f"({rollout.end}); libraries, processor or code are not those it was made with"
        )
    return frames


def shoot(directory: Path) -> Iterator[tuple[Take, Path | FilmError]]:
    """Film what a results folder holds, write the list, and say of each take where it is or why it is not.

    Takes whose film is there already, of the same trial done by the same code, are left as they are; films of others
    are removed.

    Raises:
        RecordError, OSError: there is no plan, or the folder cannot be written.
        NoPictures: none can be drawn here. Films and list are left as they were.
    """
    plan = load_plan(directory / "plan.json")
    records = (_record(directory, trial) for trial in dict.fromkeys(row.trial for row in plan.rows))
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    earlier = {row["file"]: row for row in _listed(folder / LIST)}
    listed = []
    for take in takes(plan, (record for record in records if record)):
        path = folder / take.name
        if not (path.is_file() and earlier.get(take.name) == {name: str(value) for name, value in take.row.items()}):
            try:
                frames = film(take, GaussianPolicy.load(directory / "policies" / take.record.trial.id))
            except (MethodError, FilmError, SimulationUnstable) as error:
                path.unlink(missing_ok=True)
                yield take, FilmError(str(error))
                continue
            pauses = [round(1000 * INTERVAL)] * (len(frames) - 1) + [REST]
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=pauses, loop=0, quality=60, method=4)
        listed.append(take.row)
        yield take, path
    (folder / LIST).unlink(missing_ok=True)
    if listed:
        with (folder / LIST).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(listed)
    for path in folder.glob("*.webp"):
        if path.name not in {row["file"] for row in listed}:
            path.unlink()


def _record(directory: Path, trial: str) -> Record | None:
    try:
        return load_record(directory / "records" / f"{trial}.json")
    except (RecordError, OSError):
        return None


def _listed(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _frame(env: gymnasium.Env[np.ndarray, np.ndarray]) -> Image.Image:
    try:
        drawn: Any = env.render()
    except NotImplementedError:
        drawn = None
    except RuntimeError as error:
        raise NoPictures(str(error)) from error
    if not isinstance(drawn, np.ndarray):
        raise FilmError(f"{env.spec.id if env.spec else env} draws no pictures with render_mode='rgb_array'")
    picture, width = Image.fromarray(drawn), OPTIONS["width"]
    return picture if picture.width == width else picture.resize((width, picture.height * width // picture.width))


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--task", "tasks", multiple=True, metavar="MODULE:ID", help="A task of your own, to be imported.")
def main(directory: Path, tasks: tuple[str, ...]) -> None:
    """Film the best and the median policy of each method on each task of DIRECTORY."""
    try:
        for name in tasks:
            resolve_task(name)
        for take, outcome in shoot(directory):
            click.echo(f"{take.name}: not filmed: {outcome}" if isinstance(outcome, FilmError) else outcome)
    except (RecordError, OSError, NoPictures, InputError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
