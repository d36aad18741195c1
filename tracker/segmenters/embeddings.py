"""What an encoder made of an image, kept: in memory, and in a folder that processes may share.

An image is known by the hash of its pixels and a model by the hash of its weights, so that neither
a renamed file nor an exchanged one gives a wrong answer. Files are safetensors
(https://huggingface.co/docs/safetensors), which hold numbers and nothing that could be run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from errors import InputError
from tracker.protocol import Image

MEMORY_BYTES = 512 * 2**20
DISK_BYTES = 4 * 2**30
_SUFFIX = ".safetensors"
_UNFINISHED = ".unfinished-"
_FORGOTTEN = 3600.0  # seconds after which a file that nobody finished is taken away

Tensors = dict[str, torch.Tensor]
_log = logging.getLogger(__name__)


def content_of(image: Image) -> str:
    """The hash of an image's pixels and size (any array of uint8), hexadecimal."""
    digest = hashlib.blake2b(f"{image.shape}{image.dtype}".encode(), digest_size=32)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def content_of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """The hash of named tensors (a state dict, say): names, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Embeddings:
    """Named tensors by (image, model), the least recently used given up first.

    Safe to use from several threads; several processes may share `folder`. Whatever is wrong with
    the folder once it is made (full, gone, a damaged file) only costs the encoder's time.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        """Keep at most `memory_bytes` in memory and, with a `folder`, `disk_bytes` in files there.

        Raises InputError where the folder cannot be made.
        """
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._held: OrderedDict[str, Tensors] = OrderedDict()
        self._lock = threading.Lock()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"The folder {folder} for embeddings cannot be made ({error.strerror}): name "
                    "another one, or make room for it."
                ) from error

    @property
    def held_bytes(self) -> int:
        """Bytes of the tensors that are in memory."""
        with self._lock:
            return sum(map(_size, self._held.values()))

    def of(
        self, image: str, model: str, compute: Callable[[], Mapping[str, torch.Tensor]]
    ) -> Tensors:
        """The tensors for `image` as `model` sees it, on the CPU; computed where they are not kept.

        `image`, `model`: hashes, as `content_of` and `content_of_tensors` give them. Tensors are
        shared, not copied: leave them as they are.
        """
        found = self.get(image, model)
        if found is None:
            found = self.put(image, model, compute())
        return found

    def get(self, image: str, model: str) -> Tensors | None:
        """What is kept for `image` and `model`; None where nothing whole is."""
        key = _key(image, model)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                self._touch(key)
                return self._held[key]
        found = self._read(key)
        if found is not None:
            self._hold(key, found)
        return found

    def put(self, image: str, model: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
        """Keep `tensors`; returns them as they are kept: on the CPU, detached, contiguous."""
        key = _key(image, model)
        # Cloned, since a view would keep all that it is a view of.
        kept = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in tensors.items()
        }
        self._hold(key, kept)
        self._write(key, kept)
        return kept

    def _hold(self, key: str, tensors: Tensors) -> None:
        with self._lock:
            self._held[key] = tensors
            self._held.move_to_end(key)
            total = sum(map(_size, self._held.values()))
            while self._held and total > self._memory_bytes:
                _, oldest = self._held.popitem(last=False)
                total -= _size(oldest)

    def _read(self, key: str) -> Tensors | None:
        if self._folder is None:
            return None
        path = self._folder / (key + _SUFFIX)
        try:
            with safe_open(path, framework="pt") as file:
                notes = file.metadata() or {}
                # Cloned, since what is mapped would change with the file.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            self._remove(path, str(error))
            return None
        if notes.get("key") != key or notes.get("content") != content_of_tensors(tensors):
            self._remove(path, "its content is not what was written")
            return None
        self._touch(key)
        return tensors

    def _remove(self, path: Path, reason: str) -> None:
        _log.warning("the embedding %s is damaged and removed: %s", path, reason)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("cannot remove %s: %s", path, error)

    def _write(self, key: str, tensors: Tensors) -> None:
        if self._folder is None:
            return
        notes = {"key": key, "content": content_of_tensors(tensors)}
        data = safetensors.torch.save(tensors, metadata=notes)
        if len(data) > self._disk_bytes:
            return
        unfinished = None
        try:
            number, unfinished = tempfile.mkstemp(dir=self._folder, prefix=_UNFINISHED)
            with os.fdopen(number, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(unfinished).replace(self._folder / (key + _SUFFIX))
            self._make_room(self._folder, key)
        except OSError as error:
            _log.warning("an embedding is not kept in %s: %s", self._folder, error)
            if unfinished is not None:
                Path(unfinished).unlink(missing_ok=True)

    def _make_room(self, folder: Path, newest: str) -> None:
        """Remove the files used longest ago until the rest fits, and what was never finished."""
        files = []
        for entry in os.scandir(folder):
            try:
                state = entry.stat()
            except FileNotFoundError:
                continue  # another process made room
            if entry.name.endswith(_SUFFIX):
                files.append((state.st_mtime_ns, state.st_size, Path(entry.path)))
            elif entry.name.startswith(_UNFINISHED) and state.st_mtime < time.time() - _FORGOTTEN:
                Path(entry.path).unlink(missing_ok=True)
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files, key=lambda file: (file[2].stem == newest, file)):
            if total <= self._disk_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _touch(self, key: str) -> None:
        """Note the use in the file's time of change: times of access are often not kept."""
        if self._folder is None:
            return
        try:
            os.utime(self._folder / (key + _SUFFIX))
        except OSError as error:
            _log.debug("the use of an embedding is not noted: %s", error)


def _key(image: str, model: str) -> str:
    return hashlib.blake2b(f"{model}\0{image}".encode(), digest_size=32).hexdigest()


def _size(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
