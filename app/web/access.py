"""Who may ask: the bearer token, and the names by which a worker may be called. Pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from app.settings import Settings
from app.settings.types import is_address, is_loopback

__all__ = ["Access", "access_of", "is_wildcard"]

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
_BEARER: Final = re.compile(rb"bearer +([!-~]+) *", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Access:
    """What a worker's web asks of whoever calls it.

    Attributes:
        token: The bearer token; None: reading is free, and there are no actions.
        loopback: Whether only loopback is listened on.
        names: Hosts by which the worker may be called besides, in lower case; None: by any.
    """

    token: str | None = field(default=None, repr=False)
    loopback: bool = True
    names: frozenset[str] | None = frozenset()

    def has_token(self, authorizations: Iterable[bytes]) -> bool:
        """Whether these `Authorization` headers are one with the right token; true without a token.

        Digests are compared, in constant time: neither the token's characters nor its length can be measured.
        """
        if self.token is None:
            return True
        given = [_BEARER.fullmatch(value) for value in authorizations]
        if len(given) != 1 or given[0] is None:
            return False
        return hmac.compare_digest(_digest(given[0][1]), _digest(self.token.encode()))

    def has_host(self, hosts: Iterable[bytes]) -> bool:
        """Whether these `Host` headers are one that names this worker, with or without a port.

        A page of another site can have its own name resolve to an address of this worker and so read what is served
        there (DNS rebinding); the header then has that name. An address in it is nobody's name.
        """
        if self.names is None:
            return True
        found = [_HOST.fullmatch(host.decode("latin-1")) for host in hosts]
        if len(found) != 1 or found[0] is None:
            return False
        name = (found[0]["v6"] or found[0]["name"]).lower()
        return name in self.names or is_loopback(name) or (not self.loopback and is_address(name))


def access_of(settings: Settings) -> Access:
    """What the settings ask for.

    Names are checked where a name is all that protects: on loopback, and on one address. A worker that listens on all
    addresses has any number of names, and a token, which a page of another site does not know.
    """
    token = settings.web_token.get_secret_value() if settings.web_token else None
    loopback = is_loopback(settings.web_host)
    if not loopback and is_wildcard(settings.web_host):
        return Access(token, loopback=False, names=None)
    names = {settings.web_host.lower()}
    if settings.web_advertised_url is not None:
        names.add((urlsplit(settings.web_advertised_url).hostname or "").lower())
    return Access(token, loopback, frozenset(names))


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def is_wildcard(host: str) -> bool:
    """Whether a server on this host listens on all addresses of its machine."""
    return is_address(host) and ipaddress.ip_address(host).is_unspecified
