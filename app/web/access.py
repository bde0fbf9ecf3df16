"""Access to a worker's web: the token, the names of its host, and the URL at which other workers reach it."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from app.settings import Settings
from app.settings.types import is_address, is_loopback

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
_BEARER: Final = re.compile(rb"bearer +([!-~]+) *", re.IGNORECASE)
_ANY_PORT: Final = 9  # nothing is sent there


@dataclass(frozen=True, slots=True)
class Access:
    """The conditions under which a worker's web answers. Pure.

    Attributes:
        token: The bearer token; None: reading is free, and there are no actions.
        loopback: True when only loopback is listened on.
        names: Other hosts by which the worker may be called, in lower case; None: any.
    """

    token: str | None = field(default=None, repr=False)
    loopback: bool = True
    names: frozenset[str] | None = frozenset()

    def has_token(self, authorizations: Iterable[bytes]) -> bool:
        """Say whether there is one `Authorization` header, with the right token; true when no token is set.

        Digests are compared, in constant time: neither the token's characters nor its length can be measured.
        """
        if self.token is None:
            return True
        given = [_BEARER.fullmatch(value) for value in authorizations]
        if len(given) != 1 or given[0] is None:
            return False
        return hmac.compare_digest(sha256(given[0][1]).digest(), sha256(self.token.encode()).digest())

    def has_host(self, hosts: Iterable[bytes]) -> bool:
        """Say whether there is one `Host` header, and it names this worker, with or without a port.

        This stops DNS rebinding: a page of another site makes its own name resolve to an address of this worker, to
        read what is served here; the header then has that name. An address in the header is nobody's name.
        """
        if self.names is None:
            return True
        found = [_HOST.fullmatch(host.decode("latin-1")) for host in hosts]
        if len(found) != 1 or found[0] is None:
            return False
        name = (found[0]["v6"] or found[0]["name"]).lower()
        return name in self.names or is_loopback(name) or (not self.loopback and is_address(name))


def access_of(settings: Settings) -> Access:
    """Return the access that the settings ask for.

    Names are checked where nothing else protects: on loopback, and on one address. A worker that listens on all
    addresses has any number of names, and a token, which a page of another site does not know.
    """
    token = settings.web_token.get_secret_value() if settings.web_token else None
    loopback = is_loopback(settings.web_host)
    if not loopback and _is_wildcard(settings.web_host):
        return Access(token, loopback=False, names=None)
    names = {settings.web_host.lower()}
    if settings.web_advertised_url is not None:
        names.add((urlsplit(settings.web_advertised_url).hostname or "").lower())
    return Access(token, loopback, frozenset(names))


def _is_wildcard(host: str) -> bool:
    """Say whether a server on this host listens on all addresses of its machine."""
    return is_address(host) and ipaddress.ip_address(host).is_unspecified


def advertised_url(settings: Settings, url: str) -> str:
    """Return the URL that is set, or `url`, where the server listens; for all addresses, the one that the broker sees.

    Looks the broker's name up, which may take a while.
    """
    if settings.web_advertised_url is not None:
        return settings.web_advertised_url
    if not _is_wildcard(settings.web_host):
        return url
    address = _address_towards(settings.bootstrap_servers) or socket.gethostname()
    return http_url(address, urlsplit(url).port)


def http_url(host: str, port: int | None) -> str:
    """Return the URL of a web on a host, which may be an address of IPv6."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_towards(servers: list[str]) -> str | None:
    """Return this machine's address on the way to the first of these servers (`host:port`) that has one."""
    for server in servers:
        host = urlsplit(f"//{server}").hostname or ""
        try:
            for family, _, _, _, (address, *_) in socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM):
                with socket.socket(family, socket.SOCK_DGRAM) as towards:
                    towards.connect((address, _ANY_PORT))
                    own: str = towards.getsockname()[0]
                    return own
        except OSError:
            continue
    return None
