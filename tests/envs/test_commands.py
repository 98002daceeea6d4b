"""How commands end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
