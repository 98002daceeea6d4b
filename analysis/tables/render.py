"""A frame as CSV, Markdown, LaTeX or aligned text. Equal frames give equal bytes."""

from __future__ import annotations

from io import StringIO

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

# Columns of words; others hold numbers.
WORDS = {"Experiment", "Task", "Method", "Better than", "Compared with", "Actions", "Trial", "Status", "Error"}
WORDS |= {"Shown", "Best", "Next best", "The paper says", "Verdict", "Compared", "In each cell", "Remarks"}
WORDS |= {"Reading", "Instead of", "Setting", "quick", "Version", "Claim", "Folder", "Diagnostic", "Unit", "Changed"}
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # at the start of a row, a bare one would be read as an argument of the row before
        "–": "--",
        "\n": " ",
        "\r": " ",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)
MARKDOWN = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "\n": " ",
        "\r": " ",
        **{character: f"\\{character}" for character in "\\|*_`~"},
    }
)


def csv(frame: pd.DataFrame) -> str:
    """Comma-separated values with a heading; floats in their shortest exact form, nothing for what is unknown."""
    return str(frame.to_csv(index=False, lineterminator="\n"))


def markdown(title: str, shown: pd.DataFrame, note: str) -> str:
    """A table as GitHub reads it, of a frame of texts, under its title in bold and above its note, if there is one."""
    heads, *rows = [[cell.translate(MARKDOWN) for cell in row] for row in _rows(shown)]
    rules = ["---" if head in WORDS else "---:" for head in shown.columns]
    table = "".join(f"| {' | '.join(row)} |\n" for row in (heads, rules, *rows))
    return f"**{title.translate(MARKDOWN)}**\n\n{table}" + (f"\n{note.translate(MARKDOWN)}\n" if note else "")


def latex(title: str, shown: pd.DataFrame, note: str) -> str:
    """A `tabular` of a frame of texts, with rules of the booktabs package; title and note are comments above it."""
    columns = "".join("l" if head in WORDS else "r" for head in shown.columns)
    heads, *rows = [" & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in _rows(shown)]
    begin, end = (
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", heads, r"\midrule"],
        [r"\bottomrule", r"\end{tabular}"],
    )
    return "\n".join([f"% {title}", f"% {note}", *begin, *rows, *end]) + "\n"


def text(shown: pd.DataFrame, width: int = 80) -> str:
    """A frame of texts as aligned columns within a width; words break into lines where there is no room."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    heads, *rows = _rows(shown)
    for head in heads:
        justify: JustifyMethod = "left" if head in WORDS else "right"
        table.add_column(head.replace(" ", "\n"), justify=justify, no_wrap=head not in WORDS, vertical="bottom")
    for row in rows:
        table.add_row(*row)
    buffer = StringIO()
    Console(file=buffer, width=width, markup=False, emoji=False, highlight=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _rows(shown: pd.DataFrame) -> list[list[str]]:
    return [list(shown.columns), *shown.to_numpy().tolist()]
