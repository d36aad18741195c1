"""Mask Relay as CVAT's own tracker, and as what finds an object under clicks.

The function that cvat-cli is given:

    cvat-cli function create-native "Mask Relay" --function-module=cvat_function
    cvat-cli function run-agent ID --function-module=cvat_function

Parameters (-p NAME=str:VALUE): `kind` is `tracker` (masks and polygons are followed, the default)
or `interactor` (clicks, with a box or without, become a mask); others see `create`.
"""

from __future__ import annotations

from config import load
from cvat_native.clicking import Interactor
from cvat_native.following import Tracker
from errors import InputError
from tracker import models, segmenters
from worker.local import own_device


def create(
    kind: str = "tracker",
    engine: str = "",
    segmenter: str = segmenters.BUILTIN,
    device: str = "auto",
    learn: bool = False,
) -> Tracker | Interactor:
    """The function that CVAT's agent asks for.

    `engine`: default ENGINE. `device`: "auto", "cpu" or "cuda:N". `learn`: whether engines that
    learn do so from the frame that tracking starts at. Somebody waits in front of CVAT meanwhile,
    which without a GPU may be minutes: it has to be asked for.
    Raises InputError for names that are not known, and for weights that are missing.
    """
    settings = load()
    models.use_folder(settings.model_dir)
    place = own_device(device)
    if kind == "tracker":
        return Tracker(engine or settings.engine, place, learn=learn, threads=settings.threads)
    if kind == "interactor":
        return Interactor(segmenters.make(segmenter, place))
    raise InputError(f'There is no function of the kind "{kind[:40]}": use tracker or interactor.')
