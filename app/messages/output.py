"""The output message of a batch: the payload of CONTRACT 6, its parts, its headers, and its id read back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from app.messages.trace_context import publish_trace, trace_headers
from tables.model.enums import CompletedBy
from tables.model.events import Decision, Operator
from tables.model.fast_dataclass import fast_dataclass


class OutputId(NamedTuple):
    """What an output message is, by its key and headers: no two have the same.

    After a change of settings an output may be cut elsewhere: its parts are others then than those that are out.

    Attributes:
        key: the message's.
        revision: of the output.
        part: its number.
        parts: how many there are.
        digest: of the part's bytes; 0 where it is the only one.
    """

    key: bytes
    revision: int
    part: int
    parts: int
    digest: int


@fast_dataclass(frozen=True, slots=True)
class Part:
    """One of the messages that an output is split into: its number from 1, how many there are, and its bytes."""

    number: int
    count: int
    value: bytes


OUTPUT_HEADROOM = 1024 * 1024  # bytes by which a part may exceed AGG_MAX_MESSAGE_BYTES for its headers and its meta
RECORD_OVERHEAD = 1024  # bytes of a record besides its value: key, headers, its batch
_DIGITS = 9  # of a revision, a part or a count of parts; more than there ever are
ERROR_LENGTHS = (500, 100, 20, 0)  # characters of a failed station's error, the fewer the less room there is


def meta_of(
    decision: Decision, *, part: int = 1, parts: int = 1, error_length: int = ERROR_LENGTHS[0]
) -> dict[str, Any]:
    """Return the `meta` object, with error texts cut to `error_length` characters."""
    return {
        "status": decision.status,
        "completed_by": decision.completed_by,
        "revision": decision.revision,
        "expected_count": len(decision.expected),
        "arrived_count": decision.arrived_count,
        "missing": decision.missing,
        "failed": [{"station_id": station_id, "error": error[:error_length]} for station_id, error in decision.failed],
        "empty": decision.empty,
        "opened_at": decision.opened_at,
        "deadline": decision.deadline,
        "closed_at": decision.closed_at,
        **({} if decision.timeout is None else {"timeout": decision.timeout}),
        **_operator(decision.operator),
        "part": part,
        "parts": parts,
    }


def _operator(operator: Operator | None) -> dict[str, Any]:
    """Return the key `operator`, only where an operator has acted."""
    if operator is None:
        return {}
    return {"operator": {"action": operator.action, "by": operator.by, "at": operator.at}}


def payload_of(
    decision: Decision, module: str, *, results: Sequence[str] | None = None, meta: dict[str, Any] | None
) -> bytes:
    """Return the bytes of the default payload, without `meta` where that is None.

    `results` are the JSON texts of a part's results; None: all.
    Results are moved as text: they became JSON where they were computed, and are not parsed again.
    """
    texts = decision.results if results is None else results
    head = orjson.dumps({"batch_id": decision.batch_id, "module": module, "timestamp": decision.closed_at})
    body = b'%b,"stations":[%b],"station_count":%d' % (head[:-1], ",".join(texts).encode(), len(texts))
    if meta is None:
        return body + b"}"
    return b'%b,"meta":%b}' % (body, orjson.dumps(meta))


def parts_of(decision: Decision, module: str, *, with_meta: bool, max_bytes: int) -> list[Part]:
    """Return the parts of the default payload, each at most `max_bytes` long as far as its `meta` leaves room."""
    whole = payload_of(decision, module, meta=meta_of(decision) if with_meta else None)
    if len(whole) <= max_bytes:
        return [Part(1, 1, whole)]
    length, overhead = _overhead(decision, module, with_meta=with_meta, max_bytes=max_bytes)
    chunks = cut_results(decision.results, max_bytes - overhead)
    parts: list[Part] = []
    for number, chunk in enumerate(chunks, 1):
        meta = meta_of(decision, part=number, parts=len(chunks), error_length=length) if with_meta else None
        parts.append(Part(number, len(chunks), payload_of(decision, module, results=chunk, meta=meta)))
    return parts


def _overhead(decision: Decision, module: str, *, with_meta: bool, max_bytes: int) -> tuple[int, int]:
    """Return how long error texts may be, and the bytes of a part besides its results.

    Every part carries the whole `meta`, so thousands of failed stations with long errors would leave no room for
    results. `meta` should take at most half of a part, and leave room for the longest result.
    """
    length, size = 0, 0
    longest = max((len(text.encode()) + 1 for text in decision.results), default=0)
    for length in ERROR_LENGTHS:
        meta = meta_of(decision, error_length=length) if with_meta else None
        # Room for the part's own numbers in `meta`, and for a `station_count` of any length.
        size = len(payload_of(decision, module, results=(), meta=meta)) + 32
        if size <= max_bytes - max(longest, max_bytes // 2):
            break
    return length, size


def headers_of(decision: Decision, part: int = 1, parts: int = 1) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of an output message."""
    return [
        *output_headers(decision.completed_by, decision.revision, part, parts),
        *trace_headers(publish_trace(decision)),
    ]


@lru_cache(1024)
def output_headers(completed_by: CompletedBy, revision: int, part: int, parts: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers besides the trace's, which most outputs have in common; `output_id` reads them."""
    return (
        ("completed-by", completed_by.encode()),
        ("revision", str(revision).encode()),
        ("part", str(part).encode()),
        ("parts", str(parts).encode()),
    )


def output_id(key: bytes | None, headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> OutputId | None:
    """Return the id of a message of the output topic, from its headers by `headers_of`; None where it has none."""
    found = dict(headers)
    revision, part = number_in(found.get("revision")), number_in(found.get("part"))
    if revision is None or part is None:
        return None
    parts = number_in(found.get("parts")) or 1
    return OutputId(key or b"", revision, part, parts, crc32(value or b"") if parts > 1 else 0)


def whole_outputs(found: Iterable[OutputId]) -> set[tuple[bytes, int]]:
    """Return the keys and revisions of the outputs of which all parts have been found."""
    parts: dict[tuple[bytes, int, int], set[int]] = {}
    for one in found:
        parts.setdefault((one.key, one.revision, one.parts), set()).add(one.part)
    return {(key, revision) for (key, revision, count), numbers in parts.items() if len(numbers) >= count}


def number_in(header: bytes | None) -> int | None:
    """Return a number that `headers_of` writes: up to nine ASCII digits, above 0; None of all else.

    The output topic takes messages of anybody, and Python refuses to read a number of more than 4,300 digits.
    """
    return (int(header) or None) if header and len(header) <= _DIGITS and header.isdigit() else None


def cut_results(results: Sequence[str], room: int) -> list[list[str]]:
    """Return the results in chunks, in order: as many in each as fit into `room` bytes, at least one."""
    chunks: list[list[str]] = [[]]
    size = 0
    for text in results:
        length = len(text.encode()) + 1
        if chunks[-1] and size + length > room:
            chunks.append([])
            size = 0
        chunks[-1].append(text)
        size += length
    return chunks
