"""Sphinx configuration: `tox -e docs` builds the site into `build/docs`; warnings are errors, and nothing is fetched.

Three directives show what the code says about itself, so that pages need not repeat it:

    {docstring} module[:Class]      its docstring, read as Markdown
    {settings} NAME                 the settings of a method, with defaults and meaning
    {parameters} module:Class       the fields of a task's parameters, with the comments of the source
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx import addnodes

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "gpril-benchmarks"
author = "The gpril-benchmarks authors"
copyright = f"2026, {author}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["real_robot"]
source_suffix = {".md": "markdown"}
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to folders of the repository; tests/test_docs.py checks all links

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Class attributes", "Attributes")]

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]

FIELD = re.compile(r"^    (\w+): .+? = (.+?)(?:,?  # (.*))?$")


class Generated(Directive):
    """A directive whose content is Markdown that a subclass writes about its argument."""

    required_arguments = 1

    def markdown(self, name: str) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        lines = StringList(self.markdown(self.arguments[0]).splitlines(), self.arguments[0])
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


class Docstring(Generated):
    """The docstring of a module or class, up to its list of attributes."""

    def markdown(self, name: str) -> str:
        text = inspect.getdoc(imported(name)) or ""
        return re.split(r"\n\n(?:Attributes|Raises|Args):\n", text)[0]


class Settings(Generated):
    """The settings of a method as a table."""

    def markdown(self, name: str) -> str:
        from methods.registry import describe

        _, _, listed = describe(name).partition("NAME=VALUE:\n")
        rows = re.findall(r"^  (\w+) = (.*)\n((?:      .*\n?)*)", listed + "\n", re.MULTILINE)
        assert rows, f"{name} has no settings"
        return table("Setting", ((key, f"`{value}`", " ".join(meaning.split())) for key, value, meaning in rows))


class Parameters(Generated):
    """The fields of a dataclass and of those it extends, with the comments behind them, as a table."""

    def markdown(self, name: str) -> str:
        kind = imported(name)
        lines = inspect.getsource(kind).splitlines()
        found = (match.groups(default="") for match in map(FIELD.match, lines) if match)
        return table("Parameter", ((key, f"`{value}`", comment) for key, value, comment in found))


def imported(name: str) -> Any:
    """The object "module" or "module:Name"."""
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def table(heading: str, rows: Iterator[tuple[str, str, str]]) -> str:
    """A Markdown table of names, defaults and meanings."""
    escaped = ([f"`{key}`", value.replace("|", "\\|"), meaning.replace("|", "\\|")] for key, value, meaning in rows)
    return "\n".join([f"| {heading} | Default | Meaning |", "|---|---|---|", *map(" | ".join, escaped)])


def offer_as_downloads(app: Any, page: nodes.document) -> None:
    """Makes links to Markdown files outside this folder downloads, as links to other files of the repository are.

    MyST takes every Markdown file for a page of the site, and would show these links as plain text.
    """
    for link in list(page.findall(addnodes.pending_xref)):
        if link["refdomain"] == "doc" and Path(link["reftarget"]).is_absolute():
            target = os.path.relpath(link["reftarget"] + ".md", Path(app.srcdir, link["refdoc"]).parent)
            download = addnodes.download_reference("", "", *link.children, reftarget=target, refdoc=link["refdoc"])
            link.replace_self(download)


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", offer_as_downloads, priority=400)  # before Sphinx collects downloads at 500
    for directive in (Docstring, Settings, Parameters):
        app.add_directive(directive.__name__.lower(), directive)
    return {"parallel_read_safe": True}
