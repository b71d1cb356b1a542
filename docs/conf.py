"""The site of `make docs`, built by Sphinx: the pages that GitHub shows too, and the API.

Their sources are the repository itself, so that a link works in both. Docstrings are read, never
imported.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from astroid.manager import AstroidManager
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import zero123lib  # noqa: E402 - cheap: its names load at use

project = "zero123lib"
release = zero123lib.__version__
extensions = ["myst_nb", "sphinx.ext.napoleon", "autoapi.extension"]

root_doc = "README"
include_patterns = ["*.md", "docs/**", "notebooks/*.ipynb", "zero123lib/models/tiny/README.md"]
exclude_patterns = ["docs/conf.py"]
# What the front page shows beside itself; a page that is left out fails the build.
CONTENTS = {
    "Use": """docs/command-line docs/batches docs/images docs/cameras docs/app docs/speed
        docs/reconstruction
        docs/fields docs/meshes docs/textures docs/evaluation docs/reports docs/checkpoints
        docs/compatibility docs/threestudio docs/space docs/serving docs/reliability
        zero123lib/models/tiny/README""",
    "Train": "docs/rendering docs/datasets docs/training docs/scale",
    "Notebooks": "notebooks/*",
    "Reference": "docs/api/zero123lib/index CONTRIBUTING SECURITY CHANGELOG",
}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"

autoapi_dirs = ["zero123lib"]
autoapi_ignore = ["*/models/*", "*/cli/*", "*/__main__.py"]
autoapi_root = "docs/api"
autoapi_add_toctree_entry = False
autoapi_options = [
    "members",
    "inherited-members",
    "undoc-members",
    "special-members",
    "show-inheritance",
    "show-module-summary",
]
# Private modules that hold what users see: errors to catch, and names to choose from.
SHOWN = {"zero123lib._choices", "zero123lib._errors", "zero123lib._optional"}
# Constants that are assigned by twos are not found by name, which nothing asks for.
suppress_warnings = ["autoapi.python_import_resolution"]

default_role = "py:obj"
napoleon_use_rtype = False
# Roles have to find their target. `name` alone may be anything, and other libraries are not here.
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", r"(?!zero123lib)\w+\..*")]

highlight_language = "none"
html_theme = "furo"
html_title = project
html_show_copyright = False

# Else the types of every package that is imported would be inferred from its source, for minutes.
AstroidManager().module_denylist |= {
    name
    for path in ROOT.glob("zero123lib/**/*.py")
    for name in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
    if not name.startswith("zero123lib")
}


def setup(app: Sphinx) -> None:
    """Connect what follows; Sphinx calls this."""
    app.connect("source-read", add_contents)
    app.connect("source-read", shorten_title)
    app.connect("autoapi-skip-member", is_left_out)
    app.connect("autodoc-process-docstring", add_public_names)
    app.connect("autodoc-process-docstring", keep_blocks)
    app.connect("doctree-read", ask_exactly)
    app.connect("missing-reference", follow_import)
    app.connect("build-finished", add_index)


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the table of contents, which GitHub would show as text, to the front page."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            entries = [":hidden:", ":glob:", f":caption: {caption}", "", *pages.split()]
            source[0] += "\n".join(["", "```{toctree}", *entries, "```", ""])


def shorten_title(app: Sphinx, name: str, source: list[str]) -> None:
    """Head a module's page by its name in the package: long ones break a phone's line."""
    if name.startswith(autoapi_root):
        source[0] = source[0].removeprefix("zero123lib.")


def is_left_out(
    app: Sphinx, kind: str, name: str, found: Any, skip: bool, options: object
) -> bool | None:
    """Show what has a docstring, and all types and constants that are public."""
    if name in SHOWN:
        return False
    if name.endswith("__"):
        return not name.endswith(".__call__")
    return skip or (kind not in {"data", "module", "package"} and not found.docstring)


def add_public_names(
    app: Sphinx, kind: str, name: str, found: None, options: None, lines: list[str]
) -> None:
    """Lead from the package to what it offers; `any` has to find it."""
    if name == "zero123lib":
        homes = zero123lib._HOMES.items()
        lines += ["", *(f"* :any:`{public} <{home}.{public}>`" for public, home in homes)]


def keep_blocks(
    app: Sphinx, kind: str, name: str, found: None, options: None, lines: list[str]
) -> None:
    """Take an indented block after a blank line as it is, as Markdown does."""
    for at in range(len(lines) - 1, 1, -1):
        before, blank, line = lines[at - 2 : at + 1]
        if line.startswith("    ") and not blank and re.match(r"\S.*(?<!::)$", before):
            lines[at:at] = ["::", ""]


def ask_exactly(app: Sphinx, doctree: Any) -> None:
    """Keep a type's name from leading to whatever has the same name elsewhere."""
    for node in doctree.findall(pending_xref):
        if node["reftype"] == "class":
            node.attributes.pop("refspecific", None)


def follow_import(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Any) -> Any:
    """Resolve a name, or a member of one, that the module at hand imports."""
    known = getattr(env, "autoapi_all_objects", {})
    target = node.get("reftarget", "")
    for name in (f"{node.get('py:module')}.{target}", target):
        owner, _, member = name.rpartition(".")
        home = known[owner].obj.get("original_path") if owner in known else None
        found = known.get(f"{home}.{member}" if home else name)
        path = found.obj.get("original_path", found.id) if found else ""
        if entry := env.domains.python_domain.objects.get(path):
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, shown, path
            )
    return None


def add_index(app: Sphinx, error: Exception | None) -> None:
    """Let the site open at its front page."""
    if error is None and app.builder.name == "html":
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
