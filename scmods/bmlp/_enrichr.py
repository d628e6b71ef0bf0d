"""The one place that talks to the Enrichr server: one probe with a short time limit, then calls without retries."""

from __future__ import annotations

import functools
import importlib
import socket
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd

_PORTS = {"http": 80, "https": 443}


def ask(
    lists: Mapping[str, Sequence[str]], library: str, organism: str, timeout: float
) -> dict[str, pd.DataFrame]:
    """The server's table for each list; ConnectionError at once when it cannot be had."""
    client = _client(library, organism)
    # the address is the library's own; its name has changed once
    url = getattr(client, "base_url", None) or client.ENRICHR_URL
    _reach(url, library, timeout)
    session = _session(10 * timeout)
    known = _answer(_use(client, session).get_libraries, library)
    if library not in known:
        _checks.fail(
            f"The server has no library {library!r} for organism {organism!r}.",
            _checks.nearest(library, known),
            f"It has {len(known)}: `gseapy.get_library_name({organism!r})`.",
            kind=_checks.MissingKeyError,
        )
    out = {}
    for module, genes in lists.items():
        client = _use(_client(library, organism, list(genes)), session)
        _answer(client.run, library)
        if not len(client.results):
            _checks.fail(
                f"The server returned no set of {library!r} for module {module!r} ({len(genes)} genes, first",
                f"{_checks.listing(genes[:3], 3)}). Are these names of the kind that the library uses?",
                "See `match_genes(adata.var_names, 'my_sets.gmt')`.",
            )
        out[module] = client.results
    return out


def _client(library: str, organism: str, genes: Sequence[str] = ("A",)) -> Any:
    """The library's client; making it opens no connection."""
    import gseapy

    make = functools.partial(gseapy.Enrichr, list(genes), library, outdir=None, no_plot=True)
    names = getattr(make(organism="human"), "db_map", None)
    name = organism.lower().strip()
    if names is not None and name not in names:
        short = [n for n in names if n in ("human", "mouse", "fly", "yeast", "worm", "fish")]
        _checks.fail(
            f"`organism` is {organism!r}, but must be one of {_checks.listing(short)}.",
            _checks.nearest(name, short),
        )
    return make(organism=name)


def _session(limit: float) -> Any:
    """A session that tries once and gives up after `limit` seconds without a byte."""
    import requests

    session = requests.Session()
    session.request = functools.partial(session.request, timeout=limit)
    return session


def _use(client: Any, session: Any) -> Any:
    """Replace the client's own session, which tries for half a minute."""
    if hasattr(client, "_session"):
        client._session = session
    return client


def _answer(call: Any, library: str) -> Any:
    """The result of a call to the server; its many kinds of failure become one."""
    # by name: in the package a function of the same name hides the module
    module = importlib.import_module("gseapy.enrichr")
    failures = (OSError, ValueError, getattr(module, "EnrichrError", OSError))
    try:
        return call()
    except failures as error:
        msg = f"The server was reached but failed on the library {library!r}: {error}. {_offline(library)}"
        raise ConnectionError(msg) from error


def _reach(url: str, library: str, timeout: float) -> None:
    """Open one connection to the host of `url` (or to the proxy in use) within `timeout` seconds, or refuse."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme=parts.scheme)
    address = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443))
    found: list[OSError | None] = []

    def probe() -> None:
        try:
            socket.create_connection(address, timeout=timeout).close()
            found.append(None)
        except OSError as error:
            found.append(error)

    # a thread, because looking up a name has no time limit of its own
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout + 0.5)
    reason = found[0] if found else TimeoutError("no answer to the look-up of the name")
    if reason is not None:
        msg = (
            f"The Enrichr library {library!r} cannot be had: no connection to {address[0]} within {timeout:g} s "
            f"({reason}). Nothing was tested. {_offline(library)}"
        )
        raise ConnectionError(msg) from reason


def _offline(library: str) -> str:
    return (
        f"Without network use a file: `enrich(modules, '{library}.gmt', background=adata.var_names)`, or a "
        "collection that comes with the data sets: `enrich(modules, 'go_bp_2021', background=adata.var_names)`."
    )
