"""Models of the `transformers` library from a folder on disk, loaded once in a process.

Nothing is fetched, no code of a folder is run, and weights come from safetensors only. SAM 2.1:
Ravi et al. 2024; EdgeTAM: Zhou et al. 2025; SAM 3: Carion et al. 2025.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch

from errors import InputError
from tracker.once import once

Kind = Literal["image", "video"]

_SHOWN = 3  # names of weights in a sentence


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in its place, ready to predict, and the library's processor that belongs to it."""

    model: Any
    processor: Any


@dataclass(frozen=True, slots=True)
class _Family:
    """The library's classes (model, processor) and what a fitting config.json calls itself."""

    image: tuple[str, str]
    video: tuple[str, str]
    types: dict[Kind, tuple[str, ...]]


_FAMILIES = MappingProxyType(
    {
        "sam2.1": _Family(
            ("Sam2Model", "Sam2Processor"),
            ("Sam2VideoModel", "Sam2VideoProcessor"),
            {"image": ("sam2", "sam2_video"), "video": ("sam2_video",)},
        ),
        "edgetam": _Family(
            ("EdgeTamModel", "Sam2Processor"),
            ("EdgeTamVideoModel", "Sam2VideoProcessor"),
            {"image": ("edgetam", "edgetam_video"), "video": ("edgetam_video",)},
        ),
        "sam3": _Family(
            ("Sam3TrackerModel", "Sam3TrackerProcessor"),
            ("Sam3TrackerVideoModel", "Sam3TrackerVideoProcessor"),
            {
                "image": ("sam3_tracker", "sam3_tracker_video", "sam3_video"),
                "video": ("sam3_tracker_video", "sam3_video"),
            },
        ),
    }
)


def load(kind: Kind, name: str, folder: Path, device: str) -> Loaded:
    """The model `name` ("sam2.1-...", "edgetam", "sam3") for images or videos from `folder`.

    `folder` holds config.json, model.safetensors and the processor's configuration as published;
    `device` in PyTorch's words. A process keeps what it has loaded, until the file changes.
    Raises InputError when a file is missing, of another model, or has other weights than the model.
    """
    _require_files(kind, name, folder)
    stat = (folder / "model.safetensors").stat()
    stamp = stat.st_size, stat.st_mtime_ns
    return _loaded(kind, name, str(folder.resolve()), device, stamp)


def _require_files(kind: Kind, name: str, folder: Path) -> None:
    family = _family(name)
    config, weights = folder / "config.json", folder / "model.safetensors"
    for path in (config, weights):
        if not path.is_file():
            raise InputError(
                f"{path} is missing: put the published files of {name} into {folder}, "
                "config.json and model.safetensors among them."
            )
    _check_type(config, name, family.types[kind])
    if not any((folder / file).is_file() for file in _PROCESSOR_FILES):
        raise InputError(
            f"{folder / _PROCESSOR_FILES[0]} is missing: put the published files of {name} there, "
            "the processor's configuration among them."
        )


def require_weights(kind: Kind, name: str, folder: Path) -> None:
    """Make sure that `folder` holds the model `name`; it is loaded, and not kept.

    The library has rules of its own for the names in a file: only loading it tells. Raises
    InputError as `load` does.
    """
    _require_files(kind, name, folder)
    _read(kind, name, folder)


_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def _family(name: str) -> _Family:
    for start, family in _FAMILIES.items():
        if name == start or name.startswith(f"{start}-"):
            return family
    known = ", ".join(_FAMILIES)
    raise InputError(f"{name!r} is no model of the transformers library that we use: {known}.")


def _check_type(config: Path, name: str, accepted: tuple[str, ...]) -> None:
    try:
        text = config.read_text(encoding="utf-8")
        found = json.loads(text)["model_type"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"{config} cannot be read as a model's configuration: put the published file of "
            f"{name} there."
        ) from error
    if found not in accepted:
        raise InputError(
            f"{config} is of a model {found!r}, not of {name} ({' or '.join(accepted)}): "
            "put the right model's files there, or choose the engine that they belong to."
        )
    if '"timm_wrapper"' in text and find_spec("timm") is None:
        raise InputError(
            f"The engine {name} needs the package timm for its image encoder: install it with "
            "`pip install timm`."
        )


@once(most=4)
def _loaded(kind: Kind, name: str, folder: str, device: str, stamp: tuple[int, int]) -> Loaded:
    read = _read(kind, name, Path(folder))
    return Loaded(read.model.to(device).eval(), read.processor)


def _read(kind: Kind, name: str, folder: Path) -> Loaded:
    """The model on the processor, with its weights compared."""
    # Imported on use: listing engines must not need the library.
    from safetensors import SafetensorError

    transformers = _library()
    family = _family(name)
    model_class, processor_class = (
        getattr(transformers, which)
        for which in (family.image if kind == "image" else family.video)
    )
    weights = folder / "model.safetensors"
    try:
        model, info = model_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        processor = processor_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{weights} and its configuration do not make a {name}: put the published files there "
            f"again ({error})."
        ) from error
    _check_weights(weights, name, info)
    return Loaded(model, processor)


def _library() -> Any:
    """The library, told to leave a person's terminal alone."""
    import transformers

    library: Any = transformers
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    return library


def _check_weights(weights: Path, name: str, info: dict[str, Any]) -> None:
    """Refuse a file that lacks weights (the library would draw random ones) or has others."""
    for fault, key in (
        ("lacks", "missing_keys"),
        ("has surplus", "unexpected_keys"),
        ("has misshapen", "mismatched_keys"),
    ):
        names = sorted(str(item) for item in info.get(key) or ())
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise InputError(
                f"{weights} is no file of {name}: it {fault} weights "
                f"{', '.join(names[:_SHOWN])}{more}; put the published file there."
            )
