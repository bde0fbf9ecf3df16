"""Access to a worker's web: the tokens, the names of its host, and the URL at which other workers reach it."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from app.settings import Settings
from app.settings.types import is_address, is_loopback

_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
_BEARER: Final = re.compile(rb"bearer +([!-~]+) *", re.IGNORECASE)
_ANY_PORT: Final = 9  # nothing is sent there


class Role(StrEnum):
    """What somebody who asks may do."""

    OPERATOR = "operator"  # look and act
    READER = "read-only"  # look
    ANYONE = "anyone"  # look: the workers have no token


@dataclass(frozen=True, slots=True)
class Access:
    """The conditions under which a worker's web answers. Pure.

    Attributes:
        token: The operators' bearer token; None: there are no actions.
        read_token: The bearer token of those who only look. Without either, looking is free.
        loopback: True when only loopback is listened on.
        names: Other hosts by which the worker may be called, in lower case; None: any.
    """

    token: str | None = field(default=None, repr=False)
    read_token: str | None = field(default=None, repr=False, kw_only=True)
    loopback: bool = True
    names: frozenset[str] | None = frozenset()

    @property
    def tokens(self) -> list[str]:
        """Return the tokens that are set, the operators' first."""
        return [token for token in (self.token, self.read_token) if token is not None]

    def role_of(self, authorizations: Iterable[bytes]) -> Role | None:
        """Return what the one `Authorization` header allows; None: there is none, or its token is none of ours.

        Digests are compared, in constant time, and always those of both tokens: neither a token's characters nor its
        length can be measured.
        """
        if not self.tokens:
            return Role.ANYONE
        given = bearer_of(authorizations)
        if given is None:
            return None
        operates, reads = (_is_same(given, token) for token in (self.token, self.read_token))
        return Role.OPERATOR if operates else Role.READER if reads else None

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


def bearer_of(authorizations: Iterable[bytes]) -> bytes | None:
    """Return the token of the one `Authorization` header; None: there is none, or not as `Bearer TOKEN`, or several."""
    given = [_BEARER.fullmatch(value) for value in authorizations]
    return given[0][1] if len(given) == 1 and given[0] is not None else None


def _is_same(given: bytes, token: str | None) -> bool:
    return hmac.compare_digest(sha256(given).digest(), sha256((token or "").encode()).digest())


def access_of(settings: Settings) -> Access:
    """Return the access that the settings ask for.

    Names are checked where nothing else protects: on loopback, and on one address. A worker that listens on all
    addresses has any number of names, and a token, which a page of another site does not know.
    """
    token, read_token = (
        secret.get_secret_value() if secret else None for secret in (settings.web_token, settings.web_read_token)
    )
    loopback = is_loopback(settings.web_host)
    if not loopback and _is_wildcard(settings.web_host):
        return Access(token, read_token=read_token, loopback=False, names=None)
    names = {settings.web_host.lower()}
    if settings.web_advertised_url is not None:
        names.add((urlsplit(settings.web_advertised_url).hostname or "").lower())
    return Access(token, read_token=read_token, loopback=loopback, names=frozenset(names))


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
