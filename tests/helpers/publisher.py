"""A web server that gives files out as publishers of weights do, and as badly as they may."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Publisher:
    """What is given out, and how. `asked`: path and Range header of every request."""

    files: dict[str, bytes] = field(default_factory=dict)
    given: dict[str, bytes] = field(default_factory=dict)  # in place of those that are described
    address: str = ""
    cut_after: int | None = None  # bytes of one answer, then the connection ends
    ranges: bool = True
    etag: str = '"first"'
    changed: str = ""  # when the files were changed, as HTTP says it
    kind: str = "application/octet-stream"
    status: int = 0  # of every answer, where it is not 0
    gated: bool = False  # as Hugging Face refuses who has not accepted a licence
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def publishing(**files: bytes) -> Iterator[Publisher]:
    """Serve `files` on this machine until the block ends."""
    publisher = Publisher(files={f"/{name}": content for name, content in files.items()})
    handler = type("Handler", (_Handler,), {"publisher": publisher})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    publisher.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    publisher: Publisher
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        me, path = self.publisher, unquote(urlsplit(self.path).path)
        wanted = self.headers.get("Range", "")
        me.asked.append((path, wanted))
        if me.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access denied"})
        elif me.status:
            self._send(me.status, b"no")
        elif path.startswith("/api/models/"):
            self._describe(path)
        else:
            self._give(path, wanted)

    def _describe(self, path: str) -> None:
        """Hugging Face's API: what a repository is, and what is in it."""
        files = {
            name.split("/resolve/c0ffee/")[1]: content
            for name, content in self.publisher.files.items()
        }
        described: list[dict[str, Any]] = []
        for name, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            lfs = {"size": len(content), "sha256": digest, "oid": digest, "pointerSize": 130}
            large = name.endswith(".safetensors")
            described.append(
                {
                    "type": "file", "path": name, "rfilename": name, "size": len(content),
                    "oid": "1" * 40, "blobId": "1" * 40, **({"lfs": lfs} if large else {}),
                }
            )  # fmt: skip
        tree = "/tree/" in path
        answer = described if tree else {"id": "o/r", "sha": "c0ffee", "siblings": described}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _give(self, path: str, wanted: str) -> None:
        me = self.publisher
        if path not in me.files:
            self._send(404, b"no such file")
            return
        content = me.given.get(path, me.files[path])
        headers = {"X-Repo-Commit": "c0ffee", "Content-Type": me.kind}
        headers |= {"ETag": me.etag} if me.etag else {}
        headers |= {"Last-Modified": me.changed} if me.changed else {}
        version = me.etag or me.changed
        stale = self.headers.get("If-Range", version) != version
        if not wanted or not me.ranges or stale:
            self._send(200, content, headers)
            return
        first = int(wanted.removeprefix("bytes=").partition("-")[0])
        if first >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206, content[first:], headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.publisher.cut_after
        self.wfile.write(content if cut is None or status >= 400 else content[:cut])
        if cut is not None and cut < len(content):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
