"""Sphinx side of the book: figures and mathematics without network, names of the API, directives, footer.

Used by ``_config.yml`` (``extra_extensions: [scmods._book.sphinx]``) and by MyST-NB through the entry point
``myst_nb.mime_renderers``. Nothing here executes a notebook.
"""

from __future__ import annotations

import datetime
import html
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes

from scmods._book import api_names, cards, data_table, evidence, page_weight, ratios, repository
from scmods._book.figure_html import PLOTLY_MIME, STATIC, alt_text, figure_html, mathjax_dir, plotly_script

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["PlotlyMime", "build_stamp", "setup"]

# tex-chtml brings the whole engine in one file; fonts and rarely used TeX packages are fetched from beside it
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")
STAMP_PACKAGES = ("torch", "numpy", "anndata", "scanpy")


class PlotlyMime:
    """MIME renderer of MyST-NB for plotly figures: the figure's own JSON in a labelled ``div``.

    A figure without ``layout.meta.alt`` is a build warning (an error under ``-W``) that names page and line.
    """

    mime_priority_overrides: ClassVar[list[tuple[str, str, int]]] = [("*", PLOTLY_MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Element] | None:  # noqa: FBT001
        """Nodes of one output, or None when the output is not a plotly figure (signature of MyST-NB)."""
        if inline or data.mime_type != PLOTLY_MIME:
            return None
        if not alt_text(data.content):
            renderer.logger.warning(
                "figure without alt text. Expected `layout.meta.alt`: one or two sentences for readers who "
                "cannot see the figure. Write fig.update_layout(meta={'alt': '...'})",
                subtype="figure_alt",
                line=data.line,
            )
        return [nodes.raw(text=figure_html(data.content), format="html", classes=["output-figure"])]


def build_stamp(root: Path) -> str:
    """One line of HTML: date of the build, version, commit, and the versions that matter for the numbers.

    ``SOURCE_DATE_EPOCH`` fixes the date, for builds that must be identical byte for byte.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = (
        datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
        if epoch
        else datetime.datetime.now(datetime.UTC)
    )
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in STAMP_PACKAGES]
    text = (
        f"Built {now:%Y-%m-%d} with scmods {metadata.version('scmods')}, {_commit(root)}; "
        f"{', '.join(versions)}. "
        "Run times, memory and all package versions are on the status page."
    )
    return f'<p class="scmods-build">{html.escape(text)}</p>'


def _commit(root: Path) -> str:
    try:
        head = _git(root, "rev-parse", "--short=10", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "not a git checkout"
    return f"commit {head}" + (" with local changes" if changed else "")


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _configure(app: Sphinx, config: Any) -> None:
    config.mathjax_path = "mathjax/tex-chtml.js"
    # the menu offers parts that are not copied; the assistive MathML that screen readers use stays
    if config.mathjax3_config is None:
        config.mathjax3_config = {}
    config.mathjax3_config.setdefault("options", {}).setdefault("enableMenu", False)
    config.html_theme_options = {**config.html_theme_options, "extra_footer": build_stamp(Path(app.srcdir))}


def _copy_static(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    out = Path(app.outdir) / "_static"
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plotly_script(), out / "plotly.min.js")
    for name in ("figures.js", "figures.css", "page.js"):
        shutil.copyfile(STATIC / name, out / name)
    for part in MATHJAX_PARTS:
        source, target = mathjax_dir() / part, out / "mathjax" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)


def _page_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if doctree is not None and any('class="fig-plotly"' in n.astext() for n in doctree.findall(nodes.raw)):
        app.add_js_file("plotly.min.js", loading_method="defer")
        app.add_js_file("figures.js", loading_method="defer")


def _is_thebe(asset: Any) -> bool:
    name = str(getattr(asset, "filename", "") or "")
    body = str((getattr(asset, "attributes", None) or {}).get("body") or "")
    return "thebe" in name.lower() or "thebe" in body.lower()


def _drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    # Jupyter Book always brings Thebe, which names a server and declares its constants twice (a page error)
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context.get(kind, []) if not _is_thebe(asset)]


def _tidy_nodes(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for node in list(doctree.findall(nodes.raw)):
        if "<th></th>" in node.astext():  # the corner of a pandas table heads nothing
            node.children = [nodes.Text(node.astext().replace("<th></th>", "<td></td>"))]
        if "thebe-kernel" in node.astext() or "text/x-thebe-config" in node.astext():
            node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Entry point of the Sphinx extension."""
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _copy_static)
    app.connect("html-page-context", _page_scripts)
    app.connect("html-page-context", _drop_thebe, priority=999)
    app.connect("doctree-resolved", _tidy_nodes, priority=999)
    app.add_css_file("figures.css")
    app.add_js_file("page.js", loading_method="defer")
    api_names.connect(app)
    for module in (cards, data_table, evidence, page_weight, ratios, repository):
        module.connect(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
