"""Run DeAOT over a clip with generated weights, for comparison with another implementation.

python bench/golden.py --variant R50_DeAOTL --overrides FILE.npz --gap 2 --max-len 9999
    --clip CLIP.npz --feed mask --out OUT.npz

CLIP.npz: `frames` u8 [T,H,W,3] RGB, `ids` u8 [T,H,W]; ids[0] is the reference mask with all its
objects. After each frame the memory is updated with CLIP.npz's array named by --feed, or with our
own mask without it. OUT.npz: `mask` u8 [T,H,W], `logits.tK` f32 as ../shared/deaot/README.md says.
The seconds of each frame are printed; the first two are left out of the rate.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:  # run as a file
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from tracker.propagators.deaot.decide import decided  # noqa: E402
from tracker.propagators.deaot.network import DeAOT  # noqa: E402
from tracker.propagators.deaot.picture import network_size, normalised, shrunk  # noqa: E402
from tracker.propagators.deaot.tracker import Memories, Tracker  # noqa: E402
from tracker.propagators.deaot.variants import VARIANTS  # noqa: E402
from tracker.propagators.deaot.weights import fill  # noqa: E402

GOLDEN = ROOT.parent / "shared" / "deaot"
_WARM = 2  # frames that are not timed


def main() -> int:
    """Run one clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", required=True, choices=sorted(VARIANTS))
    parser.add_argument("--overrides", type=Path, help="arrays that replace generated ones")
    parser.add_argument("--gap", type=int, help="frames between long-term memories")
    parser.add_argument("--max-len", type=_positive, default=9999, help="most long-term memories")
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--feed", help="array of the clip to update the memory with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    network = golden_network(options.variant, options.overrides).to(options.device)
    network.prepare()
    memories = Memories(gap=options.gap, most=options.max_len)
    with np.load(options.clip) as clip:
        frames, ids = clip["frames"], clip["ids"]
        fed = clip[options.feed] if options.feed else None
    torch.set_flush_denormal(True)
    busy = time.process_time()
    out, seconds = follow(Tracker(network, memories), frames, ids, fed)
    busy = time.process_time() - busy
    np.savez(options.out, allow_pickle=False, **out)
    timed = seconds[_WARM:] or seconds
    if timed:
        print(
            f"{options.variant}: {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]},"
            f" {len(timed) / sum(timed):.2f} frames/s, median {1000 * np.median(timed):.0f} ms,"
            f" {busy / len(frames):.2f} CPU s a frame, {torch.get_num_threads()} threads"
        )
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return number


def golden_network(variant: str, overrides: Path | None = None) -> DeAOT:
    """A network with the deterministic weights of ../shared/deaot, not prepared yet."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "golden_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rule: Callable[[Mapping[str, object]], dict[str, NDArray[np.float32]]]
    rule = module.golden_state_dict
    listed = json.loads((GOLDEN / f"{variant}_state_dict.json").read_text())
    weights = rule({name: entry["shape"] for name, entry in listed.items()})
    if overrides is not None:
        with np.load(overrides) as given:
            weights |= {name: given[name] for name in given.files}
    network = DeAOT(VARIANTS[variant])
    tensors = {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in weights.items()}
    fill(network, tensors, "the golden rule")
    return network


@torch.inference_mode()
def follow(
    tracker: Tracker,
    frames: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    fed: NDArray[np.uint8] | None,
) -> tuple[dict[str, NDArray[np.generic]], list[float]]:
    """Masks and logits of a clip, and the seconds of each frame after the first.

    `frames` (T, H, W, 3), `ids` (T, H, W); `fed` (T, H, W): masks to remember in place of ours.
    """
    variant = tracker.variant
    full = frames.shape[1], frames.shape[2]
    size = network_size(*full, corners=variant.corners)
    device = tracker.device
    out: dict[str, NDArray[np.generic]] = {}
    masks = [ids[0]]
    tracker.look(normalised(frames[0], size).to(device))
    tracker.meet(shrunk(ids[0].astype(np.uint16), size).to(device), int(ids[0].max()))
    seconds = []
    for index in range(1, len(frames)):
        began = time.perf_counter()
        tracker.look(normalised(frames[index], size).to(device))
        logits = tracker.carry()
        mask = decided(logits, full, corners=variant.corners).cpu().numpy().astype(np.uint8)
        known = mask if fed is None else fed[index]
        tracker.update(shrunk(known.astype(np.uint16), size).to(device))
        seconds.append(time.perf_counter() - began)
        masks.append(mask)
        out[f"logits.t{index}"] = torch.cat([group[0] for group in logits]).float().cpu().numpy()
    out["mask"] = np.stack(masks)
    return out, seconds


if __name__ == "__main__":
    raise SystemExit(main())
