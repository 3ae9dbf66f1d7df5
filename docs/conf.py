import astrodl

project = "astrodl"
author = "The astrodl developers"
copyright = author
release = astrodl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
root_doc = "index"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4

napoleon_google_docstring = False
napoleon_numpy_docstring = True
# Attributes are documented where they stand; napoleon's copies of them would be duplicates.
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"astrodl {release}"
