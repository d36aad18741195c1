"""Weights that others have published: where each file comes from, and whether the one here is it.

They lie in MODEL_DIR, one file or one folder per model. What has a published SHA-256 must have it;
what has none is pinned on first use (`tracker.pins`). Nothing here loads a network.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import config
from errors import InputError
from tracker import pins

CONFIG, TENSORS = "config.json", "model.safetensors"  # of a folder: without them it is not there
_HUB = "https://huggingface.co/"
_ZOO = "https://github.com/yoxu515/aot-benchmark/blob/main/MODEL_ZOO.md"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_SAM_PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"
_STARTS = (b"PK\x03\x04", b"\x80")  # of a file that torch.save wrote: a zip, or an older pickle
_MEGA = 1_000_000


class Use(StrEnum):
    """What a model is loaded for."""

    VIDEO = "video"
    IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One published model.

    `file`: its name in MODEL_DIR, a folder's where `repository` (on Hugging Face) is given.
    `source`: the official page, for a person. `url`: the file itself; "" for a repository.
    `size`: bytes of what is downloaded, to the byte where `exact`. `sha256`: as published, or "".
    `tracks`: follows masks through a video. `segments`: makes masks from clicks and boxes.
    `gpu`: too slow for most videos without a GPU. `needs`: what else must be, in words.
    `library`: the package that runs it, "" where this project does. `gated`: its owner asks
    everybody to accept the licence before the download.
    """

    name: str
    file: str
    source: str
    url: str = ""
    repository: str = ""
    size: int
    exact: bool = False
    sha256: str = ""
    licence: str
    needs: str = ""
    best_for: str
    gpu: bool = False
    tracks: bool = False
    segments: bool = False
    library: str = ""
    gated: bool = False

    @property
    def runnable(self) -> bool:
        """Whether the package that runs it is installed."""
        return not self.library or find_spec(self.library) is not None


def models() -> tuple[Model, ...]:
    """All published models, those that follow masks first."""
    return tuple(_REGISTRY.values())


def model(name: str) -> Model:
    """The model of that name; raises InputError that lists the names when there is none."""
    if name not in _REGISTRY:
        raise InputError(f"No weights are known as {name!r}: use one of {', '.join(_REGISTRY)}.")
    return _REGISTRY[name]


_folder: Path | None = None


def use_folder(path: Path) -> None:
    """Look for weights in `path` from now on, in this whole process: MODEL_DIR of its settings."""
    global _folder  # a process has one MODEL_DIR
    _folder = path


def folder() -> Path:
    """MODEL_DIR: where weights lie. Raises SettingsError where settings cannot be read."""
    return _folder if _folder is not None else config.load().model_dir


def place(name: str) -> Path:
    """Where the weights of `name` lie or would lie: a file, or a folder of files."""
    return folder() / model(name).file


def is_present(name: str) -> bool:
    """Whether the weights of `name` are there; says nothing of whether they are the right ones."""
    path = place(name)
    if model(name).repository:
        return (path / CONFIG).is_file() and (path / TENSORS).is_file()
    return path.is_file()


def require_present(name: str) -> Path:
    """The path of `name`'s weights. Raises InputError that says how to get them where they lack."""
    if not is_present(name):
        one = model(name)
        raise InputError(
            f"The weights of {name} are not here: run `relay models get {name}`, or put "
            f"{files_of(one)} into {place_for(one)}."
        )
    return place(name)


def weights(name: str) -> Path:
    """The path of `name`'s weights, a file or a folder, each of them known to be the right one.

    A file is hashed only where it was not, or changed since (2.5 GB take seconds). Raises
    InputError with one sentence where a file is missing, or is not the one that was published or
    pinned.
    """
    check(name)
    return place(name)


def check(name: str) -> tuple[pins.Checked, ...]:
    """Compare the files of `name` with what was published or pinned; pins what was neither.

    Raises InputError as `weights` does.
    """
    one, path = model(name), require_present(name)
    if not one.repository:
        refuse_wrong(one, path, str(path), _again(one))
        if not one.sha256 and not pins.is_pinned(folder(), one.file):
            _refuse_unreadable(one, path, _again(one))
    return tuple(
        pins.check(folder(), each, sha256=one.sha256, again=_again(one)) for each in _files(one)
    )


def require_fitting(name: str, use: Use) -> None:
    """Make sure that the files of `name` are the right ones and hold that model's weights.

    Beyond `check` the names and shapes of the weights are compared with the model's, once for each
    version of a file: for a DeAOT that takes a moment, a folder of the transformers library has to
    be loaded. Raises InputError as `weights` does, and for another model's weights.
    """
    check(name)
    one = model(name)
    if one.sha256:
        return  # to the byte the published file
    main = f"{one.file}/{TENSORS}" if one.repository else one.file
    if not pins.is_known_to_fit(folder(), main, use):
        _refuse_other_weights(one, use)
        pins.note_fit(folder(), main, use)


def fault(name: str) -> str:
    """Why the files that are here as `name` are not what they should be, in one sentence; else "".

    What is not pinned yet stays so: looking is no first use. A pinned file that was looked through
    is not read again until it changes.
    """
    one, use = model(name), Use.VIDEO if model(name).tracks else Use.IMAGE
    try:
        path = require_present(name)
        if not one.repository:
            refuse_wrong(one, path, str(path), _again(one))
        pinned = [each for each in _files(one) if one.sha256 or pins.is_pinned(folder(), each)]
        for each in pinned:
            pins.check(folder(), each, sha256=one.sha256, again=_again(one))
        main = f"{one.file}/{TENSORS}" if one.repository else one.file
        looked = main in pinned and pins.is_known_to_fit(folder(), main, use)
        if one.runnable and not one.sha256 and not looked:
            _refuse_other_weights(one, use)
            if main in pinned:
                pins.note_fit(folder(), main, use)
    except InputError as exc:
        return str(exc)
    return ""


def _files(one: Model) -> list[str]:
    """The files of a model that count, by their paths in MODEL_DIR."""
    if not one.repository:
        return [one.file]
    here = sorted(place(one.name).iterdir())
    return [f"{one.file}/{p.name}" for p in here if p.suffix in {".json", ".safetensors"}]


def _again(one: Model) -> str:
    return f"delete it and run `relay models get {one.name}`"


def _refuse_other_weights(one: Model, use: Use) -> None:
    """Raise InputError where the weights' names and shapes are not those of the model."""
    # On use: listing the models must not need torch.
    if one.repository:
        from tracker.propagators.transformers_video.loading import require_weights

        require_weights(use.value, one.name, place(one.name))
        return
    from tracker.engines import VARIANTS
    from tracker.propagators.deaot.weights import require_names

    if one.name in VARIANTS:
        require_names(VARIANTS[one.name], place(one.name))


def refuse_wrong(one: Model, path: Path, shown: str, do: str) -> None:
    """Raise InputError where the file at `path` cannot be `one`'s, by its size or its first bytes.

    `shown`: what the sentence calls it; `do`: what it tells a person to do.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as exc:
        raise InputError(f"{shown} cannot be read ({exc.strerror}): {do}.") from exc
    if start.lstrip()[:1] == b"<":
        raise InputError(f"{shown} is a web page, not the weights of {one.name}: {do}.")
    if not start.startswith(_STARTS):
        raise InputError(f"{shown} is no file of network weights: {do}.")
    if one.exact and size != one.size:
        raise InputError(
            f"{shown} has {size:,} bytes, the weights of {one.name} have {one.size:,}: {do}."
        )
    if start.startswith(b"PK"):
        _refuse_broken_zip(path, size, shown, do)


def _refuse_broken_zip(path: Path, size: int, shown: str, do: str) -> None:
    """Raise InputError where a file of torch.save is cut short, or would unpack to more."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as exc:
        raise InputError(f"{shown} is not whole, or it is damaged: {do}.") from exc
    if unpacked > size:
        raise InputError(f"{shown} is packed, as no published weights are: {do}.")


def _refuse_unreadable(one: Model, path: Path, do: str) -> None:
    """Raise InputError where a file that is to be pinned is not whole, or another model's."""
    # On use: listing the models must not need them.
    import torch

    from tracker.engines import VARIANTS

    if one.name in VARIANTS:
        from tracker.propagators.deaot.weights import load

        load(VARIANTS[one.name], path)
        return
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # whatever a damaged file makes of a reader
        raise InputError(f"{path} is not whole, or it is damaged: {do}.") from exc


def files_of(one: Model) -> str:
    """What a person has to fetch by hand, in words."""
    if one.repository:
        return f"the .json and .safetensors files of {one.source}"
    return f"{one.file} (from {one.source})"


def place_for(one: Model) -> Path:
    """The folder that a person has to put `files_of` into."""
    return place(one.name) if one.repository else folder()


def _deaot(name: str, prefix: str, drive_id: str, parameters: float, best_for: str) -> Model:
    # The published files also hold the optimiser's two moments: 12 bytes for each parameter.
    return Model(
        name=name,
        file=f"{prefix}_PRE_YTB_DAV.pth",
        source=_ZOO,
        url=_DRIVE + drive_id,
        size=round(parameters * 12) * _MEGA,
        licence="BSD-3-Clause",
        best_for=best_for,
        gpu=True,
        tracks=True,
    )


def _sam(letter: str, file: str, size: int, sha256: str, best_for: str, gpu: bool) -> Model:
    return Model(
        name=f"sam-vit-{letter}",
        file=file,
        source=_SAM_PAGE,
        url=_SAM + file,
        size=size,
        exact=True,
        sha256=sha256,
        licence="Apache-2.0",
        best_for=best_for,
        gpu=gpu,
        segments=True,
        library="segment_anything",
    )


def _hub(
    name: str,
    repository: str,
    megabytes: int,
    best_for: str,
    licence: str = "Apache-2.0",
    gpu: bool = True,
    gated: bool = False,
) -> Model:
    return Model(
        name=name,
        file=name,
        source=_HUB + repository,
        repository=repository,
        size=megabytes * _MEGA,
        licence=licence,
        needs="its licence accepted" if gated else "",
        best_for=best_for,
        gpu=gpu,
        tracks=True,
        segments=True,
        library="transformers",
        gated=gated,
    )


# Sizes of files with a published SHA-256 are exact. The SHA-256 of the three SAM files are those
# that several projects publish alike (the file names themselves hold the start of an MD5).
_MODELS = (
    _deaot(
        "deaot-r50-l", "R50_DeAOTL", "1QoChMkTVxdYZ_eBlZhK2acq9KMQZccPJ", 19.8,
        "most videos, on a GPU",
    ),
    _deaot(
        "deaot-swinb-l", "SwinB_DeAOTL", "1g4E-F0RPOx9Nd6J7tU9AE1TjsouL4oZq", 70.3,
        "the last tenths of accuracy at half the speed",
    ),
    _deaot(
        "deaot-l", "DeAOTL", "18elNz_wi9JyVBcIUYKhRdL08MA-FqHD5", 13.2,
        "a smaller deaot-r50-l",
    ),
    _deaot(
        "deaot-b", "DeAOTB", "1BHxsonnvJXylqHlZ1zJHHc-ymKyq-CFf", 13.2,
        "long videos: its memory does not grow",
    ),
    _deaot("deaot-s", "DeAOTS", "1YwIAV5tBtn5spSFxKLBQBEQGwPHyQlHi", 10.2, "speed"),
    _deaot("deaot-t", "DeAOTT", "1ThWIZQS03cYWx1EKNN8MIMnJS5eRowzr", 7.2, "most speed"),
    _hub(
        "sam2.1-hiera-large", "facebook/sam2.1-hiera-large", 898,
        "few objects that move or hide much",
    ),
    _hub(
        "sam2.1-hiera-base-plus", "facebook/sam2.1-hiera-base-plus", 323,
        "few objects, less memory",
    ),
    _hub("sam2.1-hiera-small", "facebook/sam2.1-hiera-small", 184, "few objects, faster"),
    _hub("sam2.1-hiera-tiny", "facebook/sam2.1-hiera-tiny", 156, "clicks on a laptop", gpu=False),
    _hub(
        "sam3", "facebook/sam3", 3440, "the newest of its family",
        licence="SAM Licence", gated=True,
    ),
    _hub("edgetam", "yonigozlan/EdgeTAM-hf", 56, "clicks on a small machine", gpu=False),
    _sam(
        "b", "sam_vit_b_01ec64.pth", 375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", "clicks on a CPU",
        gpu=False,
    ),
    _sam(
        "l", "sam_vit_l_0b3195.pth", 1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", "clicks on a GPU",
        gpu=True,
    ),
    _sam(
        "h", "sam_vit_h_4b8939.pth", 2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", "the finest clicks",
        gpu=True,
    ),
)  # fmt: skip
_REGISTRY = MappingProxyType({one.name: one for one in _MODELS})
