"""A worker's settings as the others of its group may see them: a digest of each one that all must share. Pure.

A difference can be found and named by its key, while no value travels. The mark on a field of `Settings` says whether
it is shared; a secret never is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from app.settings.model import PREFIX, Settings

Fingerprint = Mapping[str, str]  # digest by key, such as AGG_MODULE

_DIGEST: Final = 12  # characters
_IN_ORDER: Final = frozenset({"envelope_keys"})  # of other lists the order does not matter


def shared_names() -> list[str]:
    """Return the fields of `Settings` whose values all workers of one app id must share."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if isinstance(extra := field.json_schema_extra, dict) and extra["shared"]
    ]


def fingerprint(settings: Settings) -> Fingerprint:
    """Return a digest of each shared setting. It is keyed with the app id: equal values look different elsewhere."""
    values = settings.model_dump(mode="json", include=set(shared_names()))
    app_id = settings.app_id.encode()

    def digest(name: str, value: object) -> str:
        if isinstance(value, list) and name not in _IN_ORDER:
            value = sorted(set(value))
        return hmac.new(app_id, name.encode() + b"=" + orjson.dumps(value), hashlib.sha256).hexdigest()[:_DIGEST]

    return {PREFIX + name.upper(): digest(name, value) for name, value in values.items()}


def differing(own: Fingerprint, other: Fingerprint) -> list[str]:
    """Return the keys with other digests, in `own`'s order.

    A key that only one of them has, because the other worker is older, is no difference.
    """
    return [key for key, digest in own.items() if other.get(key, digest) != digest]


def odd_ones(fingerprints: Sequence[Fingerprint]) -> list[list[str]]:
    """Return, for each worker, the keys whose values differ from the others'.

    A value that more than half of the workers have is the right one; where there is none such, it is nobody's.
    """
    found: list[list[str]] = [[] for _ in fingerprints]
    for key in dict.fromkeys(key for one in fingerprints for key in one):
        counts = Counter(one[key] for one in fingerprints if key in one)
        if len(counts) > 1:
            for one, keys in zip(fingerprints, found, strict=True):
                if key in one and counts[one[key]] * 2 <= counts.total():
                    keys.append(key)
    return found
