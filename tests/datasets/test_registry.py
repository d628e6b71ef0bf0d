"""Files with checksum: used when right, refused when wrong, downloaded or explained when missing."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scmods import MissingKeyError, datasets
from scmods.datasets import DataUnavailableError, _registry

GOOD = b"right bytes"
SUM = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture
def served():
    """Address of a server on this machine that sends what `body` holds, and counts the calls."""

    class Handler(BaseHTTPRequestHandler):
        body, calls = GOOD, 0

        def do_GET(self):
            type(self).calls += 1
            if self.body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.body)))
            self.end_headers()
            self.wfile.write(self.body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file.bin", Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A registry with one file, an empty data folder and an empty cache folder."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    monkeypatch.setenv("SCMODS_DATA", str(data))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_registry, "_default_folder", lambda: cache)

    def use(url):
        entry = _registry.Entry("file.bin", url, SUM, len(GOOD), "MIT", "text", "fake", "bmlp", "nobody")
        monkeypatch.setattr(_registry, "entries", lambda: {"file.bin": entry})
        return data, cache

    return use


def test_downloads_once_and_then_uses_the_file(place, served):
    url, handler = served
    data, _ = place(url)
    assert datasets.fetch("file.bin") == data / "file.bin"
    assert (data / "file.bin").read_bytes() == GOOD
    datasets.fetch("file.bin")
    assert handler.calls == 1


def test_present_file_needs_no_network(place):
    data, _ = place("http://127.0.0.1:9/file.bin")
    (data / "file.bin").write_bytes(GOOD)
    assert datasets.fetch("file.bin").read_bytes() == GOOD


def test_corrupt_download_leaves_nothing_behind(place, served):
    url, handler = served
    handler.body = b"an error page"
    data, _ = place(url)
    with pytest.raises(DataUnavailableError, match="`file.bin` is corrupt or was changed") as caught:
        datasets.fetch("file.bin")
    assert list(data.iterdir()) == []
    assert SUM in str(caught.value)
    assert f"download {url} with a browser, save it as {data / 'file.bin'}" in str(caught.value)
    assert (caught.value.key, caught.value.url, caught.value.path) == ("file.bin", url, data / "file.bin")


def test_missing_on_the_server(place, served):
    url, handler = served
    handler.body = None
    place(url)
    with pytest.raises(DataUnavailableError, match="its download failed: 404"):
        datasets.fetch("file.bin")


def test_no_network(place):
    place("http://127.0.0.1:9/file.bin")
    with pytest.raises(
        DataUnavailableError, match="not at hand and its download failed.*By hand: download http"
    ) as e:
        datasets.fetch("file.bin")
    assert "Or set SCMODS_DATA to a folder that holds it." in str(e.value)


def test_wrong_file_is_named_and_kept(place, served):
    url, handler = served
    data, _ = place(url)
    (data / "file.bin").write_bytes(b"something else")
    wrong = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(
        DataUnavailableError, match=rf"has SHA-256 {wrong} and 14 bytes, but {SUM} and 11 bytes"
    ):
        datasets.fetch("file.bin")
    with pytest.raises(DataUnavailableError, match="It was left as it is. Delete it and call again"):
        datasets.fetch("file.bin")
    assert (data / "file.bin").read_bytes() == b"something else"
    assert handler.calls == 0


def test_replaced_file_is_read_again(place):
    data, _ = place("http://127.0.0.1:9/file.bin")
    (data / "file.bin").write_bytes(b"something else")
    with pytest.raises(DataUnavailableError, match="Delete it"):
        datasets.fetch("file.bin")
    (data / "file.bin").write_bytes(GOOD)
    assert datasets.fetch("file.bin").read_bytes() == GOOD


def test_read_only_folder_falls_back_to_the_users_cache(place, served, monkeypatch):
    url, handler = served
    data, cache = place(url)
    monkeypatch.setattr(_registry, "_writable", lambda folder: folder == cache)
    cache.mkdir()
    assert datasets.fetch("file.bin") == cache / "file.bin"
    assert list(data.iterdir()) == []
    datasets.fetch("file.bin")
    assert handler.calls == 1


def test_a_folder_that_cannot_be_made_is_not_writable(tmp_path):
    (tmp_path / "file").write_text("x")
    assert not _registry._writable(tmp_path / "file" / "below")
    assert _registry._writable(tmp_path / "new" / "below")
    assert list((tmp_path / "new" / "below").iterdir()) == []


def test_nowhere_to_write(place, monkeypatch):
    place("http://127.0.0.1:9/file.bin")
    monkeypatch.setattr(_registry, "_writable", lambda _: False)
    with pytest.raises(DataUnavailableError, match="no folder can be written to"):
        datasets.fetch("file.bin")


def test_unknown_file():
    with pytest.raises(MissingKeyError, match="no file 'hallmark.gmt'.*Did you mean 'hallmark_v7.0.gmt'"):
        datasets.fetch("hallmark.gmt")


def test_folder_is_the_one_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SCMODS_DATA", str(tmp_path))
    assert _registry.folder() == tmp_path.resolve()
    monkeypatch.delenv("SCMODS_DATA")
    assert _registry.folder() == _registry._default_folder()


def test_every_entry_is_complete_and_pinned():
    entries = _registry.entries()
    assert len(entries) > 30
    for key, one in entries.items():
        assert len(one.sha256) == 64, key
        assert one.bytes > 0
        parts = one.url.split("/")
        assert any(len(p) == 40 and set(p) <= set("0123456789abcdef") for p in parts), (
            f"{key}: no fixed commit"
        )
        assert one.license, key
        assert "doi:" in one.citation, key
        assert one.dataset in {*datasets.names(), "hallmark", "go_bp_2021"}, key


@pytest.mark.data
def test_real_files_have_the_registered_checksum(data_folder):
    for key, one in _registry.entries().items():
        path = data_folder / key
        assert path.stat().st_size == one.bytes
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one.sha256
