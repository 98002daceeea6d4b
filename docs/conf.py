"""Sphinx configuration: `tox -e docs` builds the site into `build/docs`; warnings are errors, and nothing is fetched."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "gpril-benchmarks"
author = "The gpril-benchmarks authors"
copyright = f"2026, {author}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["real_robot"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "dollarmath", "smartquotes"]
myst_heading_anchors = 3
# Links to folders and source files of the repository are for readers on the code host; the site leaves them as text.
suppress_warnings = ["myst.xref_missing"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "gpril-benchmarks"
html_static_path: list[str] = []
