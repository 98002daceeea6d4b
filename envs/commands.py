"""Parts that all command lines share: errors in one line, and numbers with their nouns."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

import click

from envs.interrupts import INTERRUPTED


class StrictCommand(click.Command):
    """Refuses an option that takes one value and is given twice, so that no value is silently ignored."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As Click does; raises click.UsageError for such an option."""
        given = self.make_parser(ctx).parse_args(list(args))[2] if args else []
        valued = [one for one in given if isinstance(one, click.Option) and not (one.multiple or one.is_flag)]
        if twice := [one for one in valued if valued.count(one) > 1]:
            raise click.UsageError(f"{twice[0].opts[0]} is given twice; give it once (lists have commas)", ctx)
        return super().parse_args(ctx, args)


class Command(StrictCommand):
    """Ends with exit code 2 and one line for bad input, and with 130 after Ctrl-C; what it returns is its exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **options: Any
    ) -> NoReturn:
        """Run it and exit."""
        try:
            code = super().main(args, prog_name, **{**options, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:  # a group without a subcommand
            error.show()
            code = 2
        except click.ClickException as error:
            if isinstance(error.__context__, BrokenPipeError):  # which a command took for an error of a file
                code = _reader_gone()
            else:
                message = "".join(letter if letter.isprintable() else " " for letter in error.format_message())
                click.echo(f"error: {' '.join(message.split())}", err=True)
                code = 2
        except (KeyboardInterrupt, click.Abort):
            click.echo("stopped", err=True)
            code = INTERRUPTED
        except BrokenPipeError:
            code = _reader_gone()
        sys.exit(code if isinstance(code, int) else 0)


def _reader_gone() -> int:
    """The exit code where the reader of the output, such as `head`, has ended; Python need not fail at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


class Group(Command, click.Group):
    """A command with subcommands that ends in the same way."""


def plural(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"  # it may be NumPy's, whose bools cannot multiply text


def import_hint(path: str | os.PathLike[str]) -> str:
    """How to import a file of plain arrays that was given as demonstrations; "" for any other file."""
    if not Path(path).is_file():  # opening a pipe would wait for ever
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # damaged bytes make zipfile fail in many ways
        return ""
    if not names or "header.npy" in names or not all(name.endswith(".npy") for name in names):
        return ""
    command = f"python -m envs.formats import arrays {quote(str(path))} --task ... --out FILE.npz"
    return f"; arrays of your own are imported by {command}"
