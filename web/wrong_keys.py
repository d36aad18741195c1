"""Guessing keys is slowed down: ten wrong ones a minute from one address, then it has to wait."""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

_ALLOWED = RateLimitItemPerMinute(10)
MOST_ADDRESSES = 10_000  # that are remembered at once
_IPV6_PREFIX = 64  # bits; one customer of a provider has all addresses below them


class WrongKeys:
    """Counts wrong keys by address, in this process. Thread-safe, and never waits for anybody.

    Attempts that are under way at the same moment are counted when they have failed, so that as
    many more may be made once.
    """

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    def require_patience(self, address: str) -> None:
        """Raise TooManyRequests, with the seconds to wait, for an address that guessed too often.

        A right key is refused then too: otherwise guessing could go on.
        """
        limiter, place = self._limiter, _place(address)
        if limiter.test(_ALLOWED, place):
            return
        wait = limiter.get_window_stats(_ALLOWED, place).reset_time - time.time()
        seconds = max(1, math.ceil(wait))
        raise TooManyRequests(
            f"Too many wrong keys came from {address}: try again in {seconds} seconds.",
            retry_after=seconds,
        )

    def add(self, address: str) -> None:
        """Remember that a wrong key came from `address`."""
        # The storage keeps an (empty) list for every address that it ever saw. Who has so many
        # addresses gains nothing by being forgotten with all others.
        if len(self._storage.events) >= MOST_ADDRESSES:
            self._storage = MemoryStorage()
            self._limiter = MovingWindowRateLimiter(self._storage)
        self._limiter.hit(_ALLOWED, _place(address))


def _place(address: str) -> str:
    """Return what stands for all addresses that one stranger has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))
    return str(ip)
