"""What workers say of themselves: that they live, what they do, and why they wait."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from jobs.models import Worker
from jobs.store import now


def report(
    session: Session,
    name: str,
    host: str,
    device: str,
    *,
    doing: str,
    trouble: str = "",
    gpu: tuple[int, int] | None = None,
) -> None:
    """Say that a worker lives and what it does.

    `trouble`: why it waits, in a sentence. `gpu`: bytes in use and in all on its GPU.
    """
    used, total = gpu or (None, None)
    session.merge(
        Worker(
            name=name,
            host=host,
            device=device,
            doing=doing,
            trouble=trouble,
            gpu_bytes=used,
            gpu_bytes_total=total,
            last_seen=now(session),
        )
    )


def sign_off(session: Session, *, name: str, host: str) -> None:
    """Forget a worker that stopped in good order."""
    session.execute(delete(Worker).where(Worker.name == name, Worker.host == host))
