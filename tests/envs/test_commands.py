"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.commands import import_hint
from envs.demonstrations import load_task, save

SCRIPT = """
import click
from envs.commands import Command

@click.command(cls=Command)
def main():
    try:
        click.echo("a line")
    except OSError as error:
        {what}

main()
"""


@pytest.mark.parametrize("what", ["raise", "raise click.ClickException(str(error)) from None"])
def test_a_reader_that_ends_early_is_no_error(tmp_path: Path, what: str) -> None:
    """Not even where a command takes it for an error of a file."""
    (tmp_path / "command.py").write_text(SCRIPT.format(what=what))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, str(tmp_path / "command.py")]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_only_plain_arrays_are_said_to_be_importable(tmp_path: Path) -> None:
    for name, shown in (("plain.npz", tmp_path / "plain.npz"), ("my own.npz", f"'{tmp_path / 'my own.npz'}'")):
        np.savez(tmp_path / name, observations=np.ones((3, 2)), lengths=[2])
        assert f"import arrays {shown} --task" in import_hint(tmp_path / name)
    save(load_task("clip"), tmp_path / "ours.npz")
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "plain.npz").read_bytes()[:-30])
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("ours.npz", "damaged.npz", "pipe.npz", "nothing.npz", "."):
        assert import_hint(tmp_path / name) == ""
