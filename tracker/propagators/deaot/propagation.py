"""Gated propagation: the layers that carry what a frame shows, and who is where, to the next.

Yang and Yang, "Decoupling Features in Hierarchical Propagation for Video Object Segmentation"
(NeurIPS 2022), sections 4.1 and 4.2. Shapes: tokens are (B, N, C), N = h w of the grid at stride
16, row-major; B are groups of objects, of one image or of several. What only the image decides is
computed of the I images, and where there is one it stays one for all of its groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.deaot.attention import SIDE, Window, attend

WIDTH = 256  # channels of the visual branch, and of the identification branch
KEY = 128
_BRANCH = 512  # channels of a value of one branch
VALUE = 2 * _BRANCH
_SCALE = KEY**-0.5


class Remembered(NamedTuple):
    """What attention reads of frames: keys (B, M, 128), values (B, M, 1024) of both branches."""

    keys: Tensor
    values: Tensor


class Seen(NamedTuple):
    """What a layer saw of a frame, before anyone said which object is where.

    `key` (1 or B, N, 128), `value` (1 or B, N, 512) of the visual branch, `context` (B, N, 256) of
    the identification branch, None in the first layer.
    """

    key: Tensor
    value: Tensor
    context: Tensor | None


class Recalled(NamedTuple):
    """What a layer reads: of each group all that is kept for long; of all groups the last frame."""

    long: Sequence[Remembered]
    short: Remembered


def spread(x: Tensor, owners: Sequence[int]) -> Tensor:
    """What images show, (I, ...), for each of their groups: (B, ...), or (1, ...) for all of them.

    `owners`: of each of the B groups its image, 0 .. I - 1, in order; every image has a group.
    """
    if len(x) in (1, len(owners)):
        return x
    return torch.cat([x[owner : owner + 1] for owner in owners])


class _Propagation(nn.Module):
    """What follows each of the three attentions: gate, filter over the grid, project."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(VALUE, VALUE, 5, padding=2, groups=VALUE, bias=False)
        self.dw_conv = nn.ModuleDict({"conv": conv})
        self.projection = nn.Linear(VALUE, 2 * WIDTH)

    def project(self, found: Tensor, gate: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, 1024), gate of the same size -> (B, N, 512)."""
        found = found * gate
        image = found.view(len(found), *grid, VALUE).permute(0, 3, 1, 2)
        image = self.dw_conv["conv"](image)
        tokens = image.permute(0, 2, 3, 1).reshape(found.shape)
        return self.projection(tokens)  # type: ignore[no-any-return]


class LongTerm(_Propagation):
    """Reads all of the frames that are remembered for long."""

    def forward(
        self, query: Tensor, memory: Sequence[Remembered], gate: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """`query` (1 or B, N, 128), scaled; `memory`: of each of B groups, or of all at once."""
        own = query.chunk(len(query)) if len(query) == len(memory) else [query] * len(memory)
        parts = [attend(q, *each) for q, each in zip(own, memory, strict=True)]
        return self.project(torch.cat(parts), gate, grid)


class ShortTerm(_Propagation):
    """Reads the surroundings of each token in the last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.relative_emb_k = nn.Conv2d(KEY, SIDE * SIDE, 1)

    def forward(
        self, raw: Tensor, memory: Remembered, gate: Tensor, grid: tuple[int, int], window: Window
    ) -> Tensor:
        """`raw`: queries (1 or B, N, 128), not scaled: so are they asked for the relative term."""
        weight = self.relative_emb_k.weight.view(SIDE * SIDE, KEY)
        relative = functional.linear(raw, weight, self.relative_emb_k.bias)
        batch = len(memory.keys)
        query, relative = (x.expand(batch, -1, -1) for x in (raw * _SCALE, relative))
        return self.project(window.attend(query, relative, *memory), gate, grid)


class SelfAttention(_Propagation):
    """Lets all tokens of the frame read each other, both branches at once."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_QK = nn.Linear(2 * WIDTH, KEY)
        self.linear_V1, self.linear_V2 = nn.Linear(WIDTH, _BRANCH), nn.Linear(WIDTH, _BRANCH)
        self.linear_U1, self.linear_U2 = nn.Linear(WIDTH, _BRANCH), nn.Linear(WIDTH, _BRANCH)

    def forward(self, visual: Tensor, identity: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, 256) twice -> (B, N, 512)."""
        key = self.linear_QK(torch.cat((visual, identity), -1))
        value = functional.silu(
            torch.cat((self.linear_V1(visual), self.linear_V2(identity)), -1), inplace=True
        )
        gate = functional.silu(
            torch.cat((self.linear_U1(visual), self.linear_U2(identity)), -1), inplace=True
        )
        pairs = zip(key.chunk(len(key)), value.chunk(len(value)), strict=True)
        found = torch.cat([attend(k * _SCALE, k, v) for k, v in pairs])
        return self.project(found, gate, grid)


class Layer(nn.Module):
    """One layer of gated propagation. The first has no identification branch to begin with."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.linear_QV = nn.Linear(WIDTH, KEY + _BRANCH)
        self.linear_U = nn.Linear(WIDTH, _BRANCH)
        self.first = first
        if not first:
            self.id_norm1 = nn.LayerNorm(WIDTH)
            self.linear_ID_U = nn.Linear(WIDTH, _BRANCH)
        self.linear_ID_V = nn.Linear(WIDTH if first else 2 * WIDTH, _BRANCH)
        self.long_term_attn = LongTerm()
        self.short_term_attn = ShortTerm()
        self.norm2, self.id_norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attn = SelfAttention()

    def look(self, visual: Tensor, identity: Tensor | None) -> tuple[Seen, Tensor]:
        """What the frame shows to this layer, and the gate of what is read from memory."""
        normed = self.norm1(visual)
        key, value = self.linear_QV(normed).split_with_sizes((KEY, _BRANCH), -1)
        gate = self.linear_U(normed)
        if identity is None:
            context = None
            gate = torch.cat((functional.silu(gate), torch.ones_like(gate)), -1)
        else:
            context = self.id_norm1(identity)
            others = self.linear_ID_U(context)
            gate = functional.silu(torch.cat((gate.expand_as(others), others), -1), inplace=True)
        return Seen(key, functional.silu(value), context), gate

    def remember(self, seen: Seen, who: Tensor) -> Remembered:
        """A frame as memory, once `who` is where is known: (B, N, 256), see `DeAOT.identify`."""
        if seen.context is not None:
            who = torch.cat((seen.context, who), -1)
        mark = functional.silu(self.linear_ID_V(who))
        value = seen.value.expand(len(mark), -1, -1)
        return Remembered(seen.key.expand(len(mark), -1, -1), torch.cat((value, mark), -1))

    def forward(
        self,
        visual: Tensor,
        identity: Tensor | None,
        seen: Seen,
        gate: Tensor,
        recalled: Recalled,
        window: Window,
    ) -> tuple[Tensor, Tensor]:
        """Carry over what is remembered: the visual and the identification branch of the frame."""
        long, short = recalled
        grid = window.height, window.width
        carried = self.long_term_attn(seen.key * _SCALE, long, gate, grid)
        carried = carried + self.short_term_attn(seen.key, short, gate, grid, window)
        visual = visual + carried[..., :WIDTH]
        identity = carried[..., WIDTH:] if identity is None else identity + carried[..., WIDTH:]
        both = self.self_attn(self.norm2(visual), self.id_norm2(identity), grid)
        return visual + both[..., :WIDTH], identity + both[..., WIDTH:]


class Transformer(nn.Module):
    """All layers of gated propagation, and the norm of what leaves the last."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(first=index == 0) for index in range(layers)])
        norm = nn.ModuleDict({"gn": nn.GroupNorm(2, 2 * WIDTH)})
        self.decoder_norms = nn.ModuleList([norm])

    def meet(self, visual: Tensor, who: Tensor, window: Window) -> list[Remembered]:
        """What each layer remembers of a frame whose masks are given: it is its own memory.

        `visual` (1, N, 256), `who` (B, N, 256): groups of one image.
        """
        remembered: list[Remembered] = []

        def recall(layer: Layer, seen: Seen) -> Recalled:
            remembered.append(layer.remember(seen, who))
            keys, values = remembered[-1]
            long = list(map(Remembered, keys.chunk(len(keys)), values.chunk(len(values))))
            return Recalled(long, remembered[-1])

        self._run(visual, recall, window, [0] * len(who))
        return remembered

    def carry(
        self, visual: Tensor, memory: Sequence[Recalled], window: Window, owners: Sequence[int]
    ) -> tuple[Tensor, list[Seen]]:
        """What is known of new frames: (B, 512, h, w), and what each layer saw of them.

        `visual` (I, N, 256), `owners`: see `spread`. `memory`: of each layer.
        """
        each = iter(memory)
        return self._run(visual, lambda layer, seen: next(each), window, owners)

    def _run(
        self,
        visual: Tensor,
        recall: Callable[[Layer, Seen], Recalled],
        window: Window,
        owners: Sequence[int],
    ) -> tuple[Tensor, list[Seen]]:
        identity: Tensor | None = None
        all_seen = []
        for layer in self.layers:
            seen, gate = layer.look(visual, identity)  # type: ignore[operator]
            if identity is None:
                visual, gate = spread(visual, owners), spread(gate, owners)
                seen = Seen(spread(seen.key, owners), spread(seen.value, owners), None)
            all_seen.append(seen)
            recalled = recall(layer, seen)  # type: ignore[arg-type]
            visual, identity = layer(visual, identity, seen, gate, recalled, window)
        assert identity is not None
        both = torch.cat((visual.expand_as(identity), identity), -1)
        image = both.view(len(both), window.height, window.width, -1).permute(0, 3, 1, 2)
        norm = self.decoder_norms[0]
        assert isinstance(norm, nn.ModuleDict)
        return norm["gn"](image), all_seen
