"""Inflate the next part of a stream in a thread while this one is parsed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from cvat_io.xmlstream import Source

_BLOCK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16  # what is given at once: a parser fed with more holds more of the tree


class ReadAhead:
    """A stream that is one block of 1 MiB ahead of its reader; errors come with their block."""

    def __init__(self, stream: Source) -> None:
        """Begin to read; the stream is closed with this object."""
        self._stream = stream
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inflate")
        self._block = b""
        self._at = 0
        self._next: Future[bytes] = self._thread.submit(stream.read, _BLOCK_BYTES)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most 64 KiB whatever `size` says; b"" at the end."""
        if self._at >= len(self._block):
            self._block, self._at = self._next.result(), 0
            if not self._block:
                return b""
            self._next = self._thread.submit(self._stream.read, _BLOCK_BYTES)
        self._at += _PIECE_BYTES
        return self._block[self._at - _PIECE_BYTES : self._at]

    def close(self) -> None:
        """Wait for the thread and close the stream."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._stream.close()
