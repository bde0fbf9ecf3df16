"""Under which URL the other workers reach a worker's web."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import urlsplit

from app.settings import Settings
from app.web.access import is_wildcard

__all__ = ["advertised_url", "http_url"]

_ANY_PORT: Final = 9  # nothing is sent there


def advertised_url(settings: Settings, url: str) -> str:
    """The URL that is set; else `url`, where the server listens; for all addresses, the one that the broker sees.

    Looks the broker's name up, which may take a while.
    """
    if settings.web_advertised_url is not None:
        return settings.web_advertised_url
    if not is_wildcard(settings.web_host):
        return url
    address = _address_towards(settings.bootstrap_servers) or socket.gethostname()
    return http_url(address, urlsplit(url).port)


def http_url(host: str, port: int | None) -> str:
    """The URL of a web on a host, which may be an address of IPv6."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_towards(servers: list[str]) -> str | None:
    """This machine's address on the way to the first of these servers (`host:port`) that has one."""
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
