"""What DeAOT costs on a graphics card: `python -m bench.gpu [--device cuda:0]`.

Frames/s from decoded frames to run lengths, milliseconds of each stage, and peak memory after 100,
1,000 and 5,000 frames, for 1, 3 and 13 objects at 480p and 1080p, in float32 and bfloat16, compiled
or not. Generated weights (../shared/deaot): how fast it is does not depend on them.

Two floors stand beside the time: the operations of a frame at the rate of --tflops, and the bytes
that must be read at least (weights, long-term and short-term memories) at the rate of --gbps.
`--device cpu --frames 4` shows that it runs.

`--spans N` measures something else: N spans of --frames frames each, one after the other and then
at once, each in a thread, their frames in batches where memory allows. Not translated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.cost import SIZES, Drift
from bench.golden import golden_network
from bench.machine import machine
from cvat_io import masks
from tracker.engines import Power
from tracker.propagators.deaot import (
    MOST_MEMORIES,
    Batcher,
    DeAOTPropagator,
    Eviction,
    Memories,
    make_batcher,
)
from tracker.propagators.deaot.network import DeAOT

_MARKS = (100, 1000, 5000)  # frames at which the peak of memory is read
_WARM = 3
_MEMORIES = Memories(gap=5, most=MOST_MEMORIES, eviction=Eviction.KEEP_KEY_FRAMES)
_SIZES = {"240p": (426, 240), **SIZES}
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(slots=True)
class Stages:
    """Seconds of the stages of `network`, with the device waited for at each of them."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, network: DeAOT) -> Iterator[None]:
        """Listen to a network for the time of the block."""
        layers = network.LSTT.layers
        parts: dict[str, list[nn.Module]] = {
            "encoder": [network.encoder],
            "decoder": [network.decoder],
        }
        for name in ("long_term_attn", "short_term_attn", "self_attn"):
            parts[name] = [layer.get_submodule(name) for layer in layers]
        began: dict[str, float] = {}
        hooks = []
        for name, modules in parts.items():
            for module in modules:
                hooks.append(module.register_forward_pre_hook(self._begin(name, began)))
                hooks.append(module.register_forward_hook(self._end(name, began)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _begin(self, name: str, began: dict[str, float]) -> Callable[..., None]:
        def begin(*_: object) -> None:
            synchronise(self.device)
            began[name] = time.perf_counter()

        return begin

    def _end(self, name: str, began: dict[str, float]) -> Callable[..., None]:
        def end(*_: object) -> None:
            synchronise(self.device)
            spent = time.perf_counter() - began[name]
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return end


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--variants", default="R50_DeAOTL")
    parser.add_argument("--sizes", default="480p,1080p")
    parser.add_argument("--objects", default="1,3,13")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--frames", type=int, default=100, help="frames of each case (100)")
    parser.add_argument("--compiled", default="no,yes")
    parser.add_argument("--spans", type=int, default=0, help="compare so many spans at once")
    parser.add_argument("--worth", type=float, help="share of a frame that one waits for others")
    parser.add_argument("--tflops", type=float, default=989.0, help="of the device, bfloat16")
    parser.add_argument("--gbps", type=float, default=4800.0, help="of the device's memory")
    args = parser.parse_args()
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    print(f"{name}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    if args.spans:
        compare_spans(args)
        return 0
    print("| network | size | objects | numbers | compiled | frames/s | peak MB at | stages, ms "
          "| operations floor, ms | bytes floor, ms |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for variant in args.variants.split(","):
        for compiled in args.compiled.split(","):
            network = golden_network(variant).to(device)
            network.prepare(compiled=compiled == "yes")
            for size in args.sizes.split(","):
                for objects in map(int, args.objects.split(",")):
                    for precision in args.precisions.split(","):
                        found = measure(network, size, objects, precision, args)
                        case = f"{variant} | {size} | {objects} | {precision} | {compiled}"
                        print(f"| {case} | {found} |", flush=True)
    return 0


def measure(
    network: DeAOT, size: str, objects: int, precision: str, args: argparse.Namespace
) -> str:
    """One case, as the rest of its row."""
    device = torch.device(args.device)
    clip = Drift(*_SIZES[size], objects)
    shown = [clip.frame(index) for index in range(16)]
    propagator = DeAOTPropagator(
        lambda _: network, Power(device=args.device), _MEMORIES, precision=_PRECISIONS[precision]
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    propagator.start(*shown[0])
    peaks = []
    began = time.perf_counter()
    for index in range(1, args.frames + 1):
        step = propagator.step(shown[index % len(shown)][0])
        masks.encode_labels(step.labels)
        if index == _WARM:
            began = time.perf_counter()
        if index in _MARKS and device.type == "cuda":
            peaks.append(f"{index}: {torch.cuda.max_memory_allocated(device) / 2**20:.0f}")
    rate = (args.frames - _WARM) / (time.perf_counter() - began)
    stages = Stages(device)
    with stages.of(network):
        propagator.step(shown[1][0])
    with FlopCounterMode(display=False) as counter:
        propagator.step(shown[2][0])
    operations = counter.get_total_flops() / (args.tflops * 1e12) * 1e3
    width = 4 if precision == "fp32" else 2
    weights = sum(p.numel() for p in network.parameters()) * width
    floor = (weights + propagator.remembered_bytes()) / (args.gbps * 1e9) * 1e3
    listed = ", ".join(f"{name} {1000 * spent:.1f}" for name, spent in stages.seconds.items())
    return f"{rate:.1f} | {'; '.join(peaks)} | {listed} | {operations:.2f} | {floor:.2f}"


def compare_spans(args: argparse.Namespace) -> None:
    """Print the table of spans at once beside spans one after the other."""
    print("| network | size | objects | numbers | spans | one after the other, frames/s "
          "(CPU s a frame) | at once | ratio of frames/s | batches of 1, 2, ... |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for variant in args.variants.split(","):
        network = golden_network(variant).to(args.device)
        network.prepare()
        for size in args.sizes.split(","):
            for objects in map(int, args.objects.split(",")):
                for precision in args.precisions.split(","):
                    spans = Spans(network, size, objects, precision, args)
                    case = f"{variant} | {size} | {objects} | {precision} | {args.spans}"
                    print(f"| {case} | {spans.compared()} |", flush=True)


class Spans:
    """--spans spans of --frames frames each, of one network."""

    def __init__(
        self, network: DeAOT, size: str, objects: int, precision: str, args: argparse.Namespace
    ) -> None:
        self._network = network
        clip = Drift(*_SIZES[size], objects)
        self._shown = [clip.frame(index) for index in range(16)]
        self._precision = _PRECISIONS[precision]
        self._count, self._frames = args.spans, args.frames
        self._device = torch.device(args.device)
        self._worth: float | None = args.worth

    def compared(self) -> str:
        """One after the other and at once, as the rest of a row."""
        for at_once in (1, self._count):
            self._follow(at_once, _WARM)
        one, one_busy, _ = self._follow(1, self._frames)
        many, many_busy, sizes = self._follow(self._count, self._frames)
        batches = ", ".join(str(sizes.get(clips, 0)) for clips in range(1, self._count + 1))
        return (
            f"{one:.2f} ({one_busy:.2f}) | {many:.2f} ({many_busy:.2f}) | {many / one:.2f} "
            f"| {batches}"
        )

    def _follow(self, at_once: int, frames: int) -> tuple[float, float, dict[int, int]]:
        """Frames/s, CPU seconds of a frame, and how many batches there were of how many spans."""
        line = make_batcher(self._network) if self._worth is None else Batcher(worth=self._worth)
        power = Power(device=str(self._device), spans=at_once)

        def follow(span: int) -> None:
            propagator = DeAOTPropagator(
                lambda _: self._network,
                power,
                _MEMORIES,
                precision=self._precision,
                batcher=lambda _: line,
            )
            propagator.start(*self._shown[span % len(self._shown)])
            for index in range(1, frames + 1):
                step = propagator.step(self._shown[(span + index) % len(self._shown)][0])
                masks.encode_labels(step.labels)

        synchronise(self._device)
        began, busy = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(follow, range(self._count)))
        synchronise(self._device)
        spent, busy = time.perf_counter() - began, time.process_time() - busy
        done = self._count * frames
        return done / spent, busy / done, line.sizes


if __name__ == "__main__":
    raise SystemExit(main())
