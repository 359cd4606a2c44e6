from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from lico_bench.data import fetch
from lico_bench.errors import BrokenFileError, MissingDataError
from tests.data.user_cards import card_with_source


def packed(name: str = "train/left/a.txt", content: bytes = bytes(200_000)) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one archive, with range requests, and can close the connection half way."""

    archive = b""
    ranges: ClassVar[list[str | None]] = []
    hangs_up = False

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.archive[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.hangs_up else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Server.archive, Server.ranges, Server.hangs_up = packed(), [], False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/mine.tar"
    server.shutdown()
    thread.join()
    server.server_close()


def write_card(root: Path, url: str, md5: str | None = None) -> None:
    found = hashlib.md5(Server.archive, usedforsecurity=False).hexdigest()
    (root / "mine.toml").write_text(card_with_source(url, md5 or found))


def test_archive_is_fetched_checked_and_unpacked(root: Path, url: str) -> None:
    write_card(root, url)
    seen: list[tuple[str, int, int | None]] = []
    fetched = fetch("mine", root, lambda *update: seen.append(update))
    assert (root / "mine" / "train" / "left" / "a.txt").stat().st_size == 200_000
    assert fetched.files == (root / "mine" / "mine.tar",)
    assert fetched.steps == ()
    assert seen[-1] == ("mine.tar", len(Server.archive), len(Server.archive))
    fetch("mine", root)
    assert len(Server.ranges) == 1  # a complete file is not downloaded again


def test_interrupted_download_is_resumed(root: Path, url: str) -> None:
    write_card(root, url)
    Server.hangs_up = True
    with pytest.raises(MissingDataError, match="to resume the download"):
        fetch("mine", root)
    Server.hangs_up = False
    fetch("mine", root)
    assert Server.ranges == [None, f"bytes={len(Server.archive) // 2}-"]
    assert (root / "mine" / "train" / "left" / "a.txt").is_file()


def test_wrong_checksum_is_refused_and_the_file_removed(root: Path, url: str) -> None:
    write_card(root, url, "0" * 32)
    with pytest.raises(BrokenFileError, match="expected md5 000"):
        fetch("mine", root)
    assert list((root / "mine").iterdir()) == []


def test_archive_that_unpacks_elsewhere_is_refused(root: Path, url: str) -> None:
    Server.archive = packed("../../outside.txt")
    write_card(root, url)
    with pytest.raises(BrokenFileError, match="cannot be unpacked"):
        fetch("mine", root)
    assert not (root.parent / "outside.txt").exists()
    assert not (root / "outside.txt").exists()


def test_without_a_network_one_sentence_says_so(root: Path) -> None:
    (root / "mine.toml").write_text(card_with_source("http://127.0.0.1:9/x.tar", "0" * 32))
    with pytest.raises(MissingDataError, match="cannot be downloaded") as caught:
        fetch("mine", root)
    assert "--data standin" in str(caught.value)
    assert not (root / "mine").exists()


def test_http_error_is_reported(root: Path, url: str) -> None:
    class Refusing(Server):
        def do_GET(self) -> None:
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_card(root, f"http://127.0.0.1:{server.server_port}/mine.tar")
    try:
        with pytest.raises(MissingDataError, match="answers 404"):
            fetch("mine", root)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", ["imagenet", "cars"])
def test_gated_datasets_give_steps_and_fetch_nothing(root: Path, name: str) -> None:
    fetched = fetch(name, root)
    assert fetched.files == ()
    assert len(fetched.steps) >= 3
    assert str(root / name) in fetched.steps[-1]
