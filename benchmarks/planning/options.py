"""Command-line options that refuse empty values (from unset shell variables) and values that cannot be stored."""

from __future__ import annotations

import math
from typing import Any

import click


class CheckedOption(click.Option):
    """An option whose value must be text in UTF-8 that is not blank, or a finite number.

    `--methods "$METHODS"` with the variable unset would otherwise mean the default, and `--results ""` the current
    folder.
    """

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert a value; raises click.BadParameter for a blank one, one that is no UTF-8, NaN and infinity."""
        for text in value if isinstance(value, tuple | list) else [value]:
            if not isinstance(text, str):
                continue
            if not text.strip(" ,"):
                raise click.BadParameter("it is empty; perhaps a shell variable is not set", ctx, self)
            try:
                text.encode()
            except UnicodeEncodeError:
                shown = text.encode(errors="surrogateescape")
                raise click.BadParameter(f"{shown!r} is not UTF-8 text; rename the file", ctx, self) from None
        found = super().process_value(ctx, value)
        if isinstance(found, float) and not math.isfinite(found):
            raise click.BadParameter(f"{found} is not a finite number", ctx, self)
        return found
