"""Buttons and launch links that need the address of a public repository: one value of ``_config.yml`` turns them on.

``repository: {url: ...}`` is empty by default, and then nothing here adds anything. Pages of ``book/runs`` are
generated, so edit and launch links point at the notebook that makes them, never at the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["Launch", "connect", "edit_link", "launch_links", "source_file"]

GENERATED = ("status",)
HOSTS = {"github.com": "gh", "gitlab.com": "gl"}  # as Binder calls them
BINDER = "https://mybinder.org/v2"
COLAB = "https://colab.research.google.com/github"


def source_file(page: str) -> str | None:
    """File of the repository that a page is made from, or None for a page that is generated whole.

    Parameters
    ----------
    page
        Name of the page, for instance ``"compared"`` or ``"runs/bmlp-paul15"``; the name of a run up to its first
        hyphen is the chapter.
    """
    if page in GENERATED or page.startswith(("genindex", "py-modindex", "search")):
        return None
    if page.startswith("runs/"):
        chapter = page.removeprefix("runs/").split("-")[0]
        return f"notebooks/{chapter}.ipynb"
    return f"book/{page}.md"


def _address(url: str) -> tuple[str, str]:
    """Host and ``owner/name`` of a repository."""
    parts = urlsplit(url)
    return parts.netloc.lower(), parts.path.strip("/").removesuffix(".git")


def edit_link(url: str, branch: str, file: str) -> str:
    """Address at which a file can be edited."""
    host, name = _address(url)
    middle = "-/edit" if "gitlab" in host else "edit"
    return f"https://{host}/{name}/{middle}/{quote(branch)}/{quote(file)}"


def launch_links(url: str, branch: str, notebook: str) -> dict[str, str]:
    """Services that open ``notebooks/<notebook>`` -> address; empty without a URL or on another host."""
    host, name = _address(url)
    if host not in HOSTS:
        return {}
    path = f"notebooks/{notebook}"
    links = {"Binder": f"{BINDER}/{HOSTS[host]}/{_binder_name(host, name)}/{quote(branch, safe='')}"}
    links["Binder"] += f"?urlpath=lab/tree/{quote(path)}"
    if host == "github.com":
        links["Colab"] = f"{COLAB}/{name}/blob/{quote(branch)}/{quote(path)}"
    return links


def _binder_name(host: str, name: str) -> str:
    return quote(name, safe="") if host == "gitlab.com" else name


def _configured(config: Any) -> tuple[str, str]:
    """URL and branch of the repository; the URL is empty when none is configured."""
    options = config.html_theme_options
    return str(options.get("repository_url") or "").rstrip("/"), str(
        options.get("repository_branch") or "main"
    )


def _switch(app: Sphinx, config: Any) -> None:
    url, _ = _configured(config)
    on = bool(url)
    # the theme's own edit button would lead to generated pages
    buttons = {"use_repository_button": on, "use_issues_button": on, "use_edit_page_button": False}
    config.html_theme_options = {**config.html_theme_options, **buttons}


def _edit_button(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    url, branch = _configured(app.config)
    file = source_file(page)
    if not url or file is None or doctree is None:
        return
    button = {"type": "link", "url": edit_link(url, branch, file), "text": "Edit the source of this page"}
    button |= {"tooltip": button["text"], "icon": "fas fa-pencil-alt", "label": "source-edit-button"}
    group = next((b for b in context["header_buttons"] if b.get("label") == "source-buttons"), None)
    (group["buttons"] if group else context["header_buttons"]).append(button)


class Launch(Directive):
    """Links that open a notebook in the browser; nothing where no repository is configured."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """One paragraph of links, or nothing."""
        url, branch = _configured(self.state.document.settings.env.config)
        links = launch_links(url, branch, self.arguments[0]) if url else {}
        if not links:
            return []
        text = nodes.paragraph("", "Without installing anything: ", classes=["scmods-launch"])
        for i, (name, link) in enumerate(links.items()):
            text += nodes.Text(", " if i else "")
            text += nodes.reference("", f"open in {name}", refuri=link, internal=False)
        text += nodes.Text(".")
        if "Colab" in links:
            text += nodes.Text(" In Colab, first run ")
            text += nodes.literal("", f"!pip install git+{url}")
            text += nodes.Text(".")
        return [text]


def connect(app: Sphinx) -> None:
    """Register the directive and the hooks; the theme makes its buttons at priority 500 and 501."""
    app.add_directive("scmods-launch", Launch)
    app.connect("config-inited", _switch, priority=400)
    app.connect("html-page-context", _edit_button, priority=900)
