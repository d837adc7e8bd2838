"""Sphinx configuration."""

import sys
from importlib.metadata import version as _version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from campaign_reference import write_reference
from results_reference import write_results

project = "laoc-flows"
author = "The laoc-flows developers"
release = _version("laoc-flows")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
html_theme = "furo"
html_title = f"laoc-flows {release}"

# Both references are written from the models themselves, so that the two cannot differ.
write_reference(Path(__file__).parent / "reference")
write_results(Path(__file__).parent / "reference")
