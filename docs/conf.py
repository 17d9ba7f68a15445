"""Sphinx's configuration of this site; `make docs` builds it."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # the generators, as the package `docs`

from docs.notebooks import cache_of_outputs  # noqa: E402

project = "normlab"
author = "the normlab authors"
copyright = "the normlab authors"
release = version = version_of("normlab")

extensions = [
    "myst_nb",  # and with it myst_parser
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "docs.extension",
]
exclude_patterns = ["_build", "_generated", "**/.ipynb_checkpoints"]
nitpicky = False
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https", "mailto")

# Notebooks run when the site is built, and again if they or the package have changed.
nb_execution_mode = "cache"
nb_execution_cache_path = str(cache_of_outputs())
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds for a cell, on a machine that is busy
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_number_source_lines = False
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"

# Formulas: MathJax is copied into the site, so that it needs no network.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}

# Docstrings: single backticks are code, types come from the annotations.
default_role = "code"
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_remove_prompts = True

html_theme = "furo"
html_title = "normlab"
html_static_path = ["_static"]
html_css_files = ["normlab.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "navigation_with_keys": False,
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#0b5c84",
        "color-brand-content": "#0b6fa4",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4ea",
        "color-brand-content": "#6cb6e0",
    },
}
