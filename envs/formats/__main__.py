"""Import demonstrations from the formats of other projects, and export them.

\b
python -m envs.formats import minari FOLDER --task PegInsertion-v0 --dt 0.1 --out mine.npz
python -m envs.formats export envs/data/peg.npz lerobot FOLDER
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from envs import TASKS
from envs.commands import Group, plural
from envs.demonstrations import DemonstrationError, load, save
from envs.formats.common import FormatError, limited_memory
from envs.loading import reason

FORMATS = {
    "arrays": "plain arrays in an .npz file: observations, actions, lengths",
    "imitation": "imitation's trajectories, a folder of Hugging Face datasets",
    "minari": "a Minari dataset with HDF5",
    "robomimic": "a robomimic HDF5 file",
    "lerobot": "a LeRobotDataset v3 without videos",
}
_NAMES = click.Choice(list(FORMATS))


def _format(name: str) -> Any:
    return import_module(f"envs.formats.{name}")


def _identity(task: str | None) -> str | None:
    """The Gymnasium id of a task, whose module or file need not be there."""
    return TASKS.get(task, task.rpartition(":")[2]) if task else None


def _guarded(path: Path, work: Any) -> Any:
    """What `work` returns; what is wrong becomes one line that names the path."""
    try:
        return work()
    except ImportError as error:
        raise click.ClickException(
            f"this format needs h5py or pyarrow ({reason(error)}): pip install h5py pyarrow"
        ) from error
    except MemoryError as error:
        raise click.ClickException(f"{path}: it needs more memory than is allowed or free") from error
    except FileNotFoundError as error:
        raise click.ClickException(f"{error.filename}: no such file or folder") from error
    except FileExistsError as error:
        raise click.ClickException(f"{path}: it exists already; choose another name") from error
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error
    except DemonstrationError as error:
        raise click.ClickException(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise click.ClickException(f"{path}: damaged, or of another format ({type(error).__name__})") from error


@click.group(
    cls=Group,
    help=__doc__,
    epilog="\b\nFormats:\n" + "\n".join(f"  {name:<10} {text}" for name, text in FORMATS.items()),
)
def main() -> None:
    pass


@main.command("import")
@click.argument("format", type=_NAMES, metavar="FORMAT")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The .npz file to write.")
@click.option("--task", help="Task, as for envs.record, if the dataset does not name it.")
@click.option(
    "--dt", type=click.FloatRange(min=0, min_open=True), help="Seconds per control step, if the dataset does not say."
)
@click.option("--observations", default="", help="Which observations, such as key1,key2, if there are several.")
def import_(format: str, path: Path, out: Path, task: str | None, dt: float | None, observations: str) -> None:
    """Read a data set of another project and save it as demonstrations."""
    keys = [key.strip() for key in observations.split(",") if key.strip()]
    origin = {"made_by": "envs.formats", "format": format, "source": path.name, "observations": keys}

    def work() -> None:
        if not path.exists():
            raise FormatError("no such file or folder")
        with limited_memory():
            contents = _format(format).read(path, keys)
        demonstrations = contents.demonstrations(_identity(task), dt, origin)
        if not out.parent.is_dir():
            raise click.ClickException(f"{out}: there is no folder {out.parent}; create it or choose another place")
        save(demonstrations, out)
        lengths = demonstrations.lengths
        size = f"{plural(demonstrations.episodes, 'episode')}, {len(demonstrations.observations)} states"
        click.echo(f"{out}: {size}, {lengths.min():.1f} to {lengths.max():.1f} s, {demonstrations.task}")
        for note in contents.notes:
            click.echo(f"note: {note}")

    _guarded(path, work)


@main.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("format", type=_NAMES, metavar="FORMAT")
@click.argument("path", type=click.Path(path_type=Path))
def export(file: Path, format: str, path: Path) -> None:
    """Write demonstrations as a data set of another project."""
    demonstrations = _guarded(file, lambda: load(file))
    notes = _guarded(path, lambda: _format(format).write(demonstrations, path))
    click.echo(f"{path}: {plural(demonstrations.episodes, 'episode')}")
    for note in notes:
        click.echo(f"note: {note}")


if __name__ == "__main__":
    main()
