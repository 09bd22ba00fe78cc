"""How Sphinx makes the documentation site: ``make docs``. Every warning is an error, broken links among them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated_pages

from repareto import __version__

project = "repareto"
author = "the repareto authors"
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# Anchors are GitHub's, so that a link that works there works here.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.strikethrough"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"

html_theme = "furo"
html_title = "repareto"
html_favicon = "images/mark.svg"
html_copy_source = False
html_show_sourcelink = False
# All that a page shows lies beside it: fonts are the reader's own, and nothing is asked of another host.
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#a3241f", "color-brand-content": "#a3241f"},
    "dark_css_variables": {"color-brand-primary": "#ff8a80", "color-brand-content": "#ff8a80"},
}
html_static_path: list[str] = []


def setup(app) -> None:
    """Let the pages of ``generated_pages`` be filled as they are read."""
    app.connect("source-read", generated_pages.fill)
