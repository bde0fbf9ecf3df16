"""How often anyone may ask: a bucket of tokens for each client, refilled at a steady rate. Pure.

Loopback is one client, and so is a network of IPv6 (/64), in which one machine may have any number of addresses.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Buckets", "client_of"]

CLIENTS: Final = 10_000  # that are remembered; who is not has a full bucket
_V6_NETWORK: Final = 64


class Buckets:
    """What each client has left."""

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """Buckets that are full.

        Args:
            rate: tokens a second that come back.
            burst: tokens of a full bucket.
            clock: seconds, from any beginning.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> tokens, and when that was

    def has(self, client: str) -> bool:
        """Whether there is a token left."""
        return self._tokens(client) >= 1.0

    def take(self, client: str) -> bool:
        """Take a token; false, and nothing is taken, when there is none."""
        tokens = self._tokens(client)
        taken = tokens >= 1.0
        self._left[client] = (tokens - 1.0 if taken else tokens, self._clock())
        self._left.move_to_end(client)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return taken

    def seconds_until_one(self, client: str) -> float:
        """How long until there is a token again."""
        return max(0.0, (1.0 - self._tokens(client)) / self._rate)

    def _tokens(self, client: str) -> float:
        tokens, since = self._left.get(client, (self._burst, self._clock()))
        return min(self._burst, tokens + max(0.0, self._clock() - since) * self._rate)


def client_of(address: str) -> str:
    """Who is behind an address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None and not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, _V6_NETWORK), strict=False))
        parsed = parsed.ipv4_mapped or ipaddress.IPv4Address("127.0.0.1")
    return "127.0.0.1" if parsed.is_loopback else str(parsed)
