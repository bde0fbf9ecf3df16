"""Changes to an input: to its JSON where it has some, so that most of what comes out passes the parser; else bytes."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

__all__ = ["mutate"]

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.5, -0.0, 1e308, -1e308, 5e-324, 1e22, "", " ", "A", "\x00", "\ud7ff", "站", "A" * 300, "٣"),
    *([], {}, [[]], [{}], [None], {"": {}}, "2025-11-14 10:00:00", "1763085600", 1763085600, 1763085600000, 4e12),
)
NAMES = (
    "stationId",
    "station_id",
    "hostCode",
    "sendTime",
    "timestamp",
    "gunPower",
    "gunNo",
    "realTimeData",
    "stations",
)
# As bytes, since no value of Python's is written like them.
RAW = (
    *(b"52000000000088123456789", b"-0", b"1e400", b"0.1e-400", b"NaN", b'"\\ud800"', b"9" * 30, b"9" * 400),
    *(b"[" * 260, b"[" * 240 + b"]" * 240, b"[" * 300 + b"]" * 300, b'{"a":' * 9),
)
PIECES = (b"\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\n\n", b"=", b"%00", b"%ff", b"9" * 25, b"1e9", b"\xd9\xa3", b",")


def mutate(data: bytes, random: Random, most: int) -> bytes:
    """Return a changed input of at most `most` bytes."""
    for _ in range(random.choice((1, 1, 2, 4))):
        head, blank, body = data.partition(b"\n\n")
        changed = _mutate_json(body if blank else data, random) if random.random() < 0.8 else None
        if changed is None:
            data = _mutate_bytes(data, random)
            continue
        data = head + blank + changed if blank else changed
    return data[:most]


def _mutate_bytes(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    to = min(len(data), at + random.choice((0, 1, 1, 2, 8, 64)))
    kind = random.random()
    if kind < 0.3:
        put = random.randbytes(random.randint(1, 4))
    elif kind < 0.6:
        put = random.choice(PIECES) * random.choice((1,) * 30 + (3000,))
    elif kind < 0.8:
        put = data[at:to] * random.choice((0, 2, 2, 50))
    else:
        put = b"%d" % random.choice((0, 1, 9, 10, 2**31, 2**63, 2**64, 10**25))
    return data[:at] + put + data[to:]


def _mutate_json(data: bytes, random: Random) -> bytes | None:
    """Change one place of a JSON value; None where there is none."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    holder: list[Any] = [value]
    containers = _containers(holder)
    container = random.choice(containers)
    mark = "\x01mark"
    raw: bytes | None = None
    if isinstance(container, dict):
        raw = _change_object(container, random, mark)
    else:
        raw = _change_list(container, random, mark)
    try:
        written = orjson.dumps(holder[0] if holder else None)
    except TypeError:  # too deep to be written
        return data
    return written if raw is None else written.replace(orjson.dumps(mark), raw, 1)


def _containers(root: list[Any]) -> list[Any]:
    found: list[Any] = [root]
    for container in found:
        children = container.values() if isinstance(container, dict) else container
        found.extend(child for child in children if isinstance(child, dict | list) and len(found) < 500)
    return found


def _change_object(target: dict[str, Any], random: Random, mark: str) -> bytes | None:
    kind = random.random()
    if not target or kind < 0.2:
        target[random.choice(NAMES)] = _any_value(random)
        return None
    key = random.choice([*target])
    if kind < 0.5:
        target[key] = _any_value(random)
    elif kind < 0.65:
        target[key] = mark
        return random.choice(RAW)
    elif kind < 0.75:
        target[random.choice(NAMES)] = target.pop(key)
    elif kind < 0.85:
        del target[key]
    else:
        target[key] = _near(target[key], random)
    return None


def _change_list(target: list[Any], random: Random, mark: str) -> bytes | None:
    kind = random.random()
    at = random.randint(0, len(target))
    if not target or kind < 0.2:
        target.insert(at, _any_value(random))
        return None
    at %= len(target)
    if kind < 0.4:
        target[at] = _any_value(random)
    elif kind < 0.5:
        target[at] = mark
        return random.choice(RAW)
    elif kind < 0.65:
        target.insert(at, target[random.randrange(len(target))])
    elif kind < 0.75:
        del target[at]
    elif kind < 0.8:
        random.shuffle(target)
    else:
        target[at] = _near(target[at], random)
    return None


def _any_value(random: Random) -> Any:
    return random.choice(VALUES)


def _near(value: Any, random: Random) -> Any:
    """Return a value of the same type, or one around it."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return max(-(2**63), min(2**64 - 1, value + random.choice((-1, 1, 3600, -86_400, 10**6, 10**12))))
    if isinstance(value, float):
        return value * random.choice((-1.0, 2.0, 1e3, 1e-3)) if abs(value) < 1e300 else 0.0
    if isinstance(value, str):
        return value + random.choice(("", " ", "0", "Z", ".5", "\x00", value[:50]))
    return [value]
