"""What stands in the output and late topics, read back and told on one line. Pure.

A custom result handler's payload tells what it likes, and a payload without `meta` less than one with it: what is not
known is None, or left out. What comes from outside is escaped where it is not printable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.messages.late import read_late
from app.messages.message import InMessage
from app.messages.output import number_in
from app.observability.log_lines import printable
from app.words import joined, words
from tables.storage import exact_json

NAMES_SHOWN: Final = 5
NAME_SHOWN: Final = 60
BATCH_SHOWN: Final = 220  # more than the longest id of a batch
TEXT_SHOWN: Final = 300
PLACE: Final = "kafka"  # the key of a JSON line under which the message's place stands

Piece = tuple[str, str]
"""A part of a line, in English or in both languages, and the style that a colourful reader gives it."""

_STYLES: Final = {"complete": "green", "partial": "yellow"}


@dataclass(frozen=True, slots=True)
class StationOutcome:
    """What is said of a station. `text`: the result, or the error.

    `status`: result, failed, empty, missing, or custom, whose text is the payload of a result handler.
    """

    station_id: str
    status: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A message of the output topic. What its payload does not tell (a custom one, or one without `meta`) is None."""

    batch_id: str
    revision: int
    part: int
    parts: int
    completed_by: str
    status: str | None = None
    results: int | None = None
    arrived: int | None = None
    expected: int | None = None
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    seconds: float | None = None
    """From the opening of the batch to its closing."""

    @property
    def outcome(self) -> str:
        """A word for how the batch was closed."""
        return self.status or self.completed_by or "published"

    @classmethod
    def read(cls, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes | None]) -> Output:
        """Read a message, whatever its payload."""
        payload = payload_of(value)
        meta = _object(payload.get("meta"))
        opened_at, closed_at = _number(meta.get("opened_at")), _number(meta.get("closed_at"))
        return cls(
            batch_id=_text(key),
            revision=number_in(headers.get("revision")) or 1,
            part=number_in(headers.get("part")) or 1,
            parts=number_in(headers.get("parts")) or 1,
            completed_by=_text(headers.get("completed-by")),
            results=_integer(payload.get("station_count")),
            status=meta["status"] if isinstance(meta.get("status"), str) else None,
            arrived=_integer(meta.get("arrived_count")),
            expected=_integer(meta.get("expected_count")),
            missing=tuple(_ids(meta.get("missing"))),
            failed=tuple(outcome.station_id for outcome in _failures(meta.get("failed"))),
            empty=tuple(_ids(meta.get("empty"))),
            seconds=None if opened_at is None or closed_at is None else closed_at - opened_at,
        )


def is_single(message: InMessage) -> bool:
    """Tell whether a message of the output topic is a station's that passed through: it is of no batch."""
    return "revision" not in dict(message.headers)


def outcomes_of(value: bytes | None) -> Iterator[StationOutcome]:
    """Yield what an output, or a pass-through result, says of each station: the results first, in their order."""
    payload = payload_of(value)
    if "station_id" in payload:
        yield StationOutcome(str(payload["station_id"]), "result", _json(payload.get("result")))
    for result in _list(payload.get("stations")):
        if isinstance(result, dict) and "station_id" in result:
            rest = {name: field for name, field in result.items() if name != "station_id"}
            yield StationOutcome(str(result["station_id"]), "result", _json(rest))
    meta = _object(payload.get("meta"))
    yield from _failures(meta.get("failed"))
    for status in ("empty", "missing"):
        for station_id in _ids(meta.get(status)):
            yield StationOutcome(station_id, status)


def custom_outcome(message: InMessage) -> StationOutcome:
    """Return what a payload of a result handler's own form says: as it stands, of the station that is the key."""
    return StationOutcome(_text(message.key), "custom", _text(message.value))


def late_outcome(value: bytes | None) -> StationOutcome | None:
    """Return what a late record says of its station; None: it is no late record."""
    late = read_late(None, value)
    return None if late.station_id is None else StationOutcome(late.station_id, str(late.status), late.text)


# -- lines -------------------------------------------------------------------------------------------------------------


def output_pieces(output: Output) -> list[Piece]:
    """One merged batch, without its time."""
    arrived = output.results if output.arrived is None else output.arrived
    count = "" if arrived is None else f"{arrived}/{output.expected}" if output.expected is not None else f"{arrived}"
    stations = words("  {count} stations", "  {count} 个场站", count=count)
    if count.rpartition("/")[2] == "1":
        stations = words("  {count} station", "  {count} 个场站", count=count)
    custom = words("  a custom payload", "  自定义的消息内容")
    pieces: list[Piece] = [
        (f"{printable(output.batch_id, BATCH_SHOWN)}  ", ""),
        (f"{printable(output.outcome):8}", _STYLES.get(output.outcome, "cyan")),
        (stations if count else custom, ""),
    ]
    if output.parts > 1:
        part = words("  part {n} of {parts}", "  第 {n}/{parts} 部分", n=output.part, parts=output.parts)
        pieces.append((part, ""))
    if output.revision > 1:
        pieces.append((words("  revision {n}", "  修订 {n}", n=output.revision), ""))
    if output.seconds is not None:
        pieces.append((words("  {seconds:.2f} s", "  {seconds:.2f} 秒", seconds=output.seconds), ""))
    for what, ids, style in (
        (words("missing: ", "缺失："), output.missing, "yellow"),
        (words("failed: ", "失败："), output.failed, "red"),
        (words("empty: ", "空："), output.empty, "dim"),
    ):
        if ids:
            pieces.append((joined("", ["  ", what, _names(ids)]), style))
    return pieces


def late_pieces(key: bytes | None, value: bytes | None) -> list[Piece]:
    """One message of the late topic, without its time."""
    late = read_late(key, value)
    if late.status == "skipped":
        came = words("not run: the deadline had passed before its turn came", "未运行：轮到它之前截止时间已过")
    else:
        came = words("{status}, too late", "{status}，迟到", status=printable(str(late.status)))
    pieces: list[Piece] = [
        (f"{printable(late.batch_id, BATCH_SHOWN)}  ", ""),
        (printable(str(late.station_id), NAME_SHOWN), "yellow"),
        ("  ", ""),
        (came, ""),
    ]
    if late.closed_at and late.timestamp:
        after = words(
            " ({seconds:.2f} s after the batch was closed)",
            "（批次关闭后 {seconds:.2f} 秒）",
            seconds=late.timestamp - late.closed_at,
        )
        pieces.append((after, ""))
    return pieces


def outcome_text(outcome: StationOutcome) -> str:
    """A station's outcome, without its id."""
    return f"{printable(outcome.status)}  {printable(outcome.text, TEXT_SHOWN)}".rstrip()


def json_line(message: InMessage) -> bytes:
    """Return a message as JSON on one line: its payload, with where it stands under `kafka` before the rest.

    A payload that is no object is under `value`; one that is no JSON is text there. A key `kafka` of the payload wins.
    """
    headers = {name: _text(value) for name, value in message.headers}
    place = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": None if message.key is None else _text(message.key),
        "headers": headers,
    }
    try:
        payload = exact_json.loads(message.value or b"null")
    except ValueError:
        payload = _text(message.value)
    return exact_json.dumps({PLACE: place} | (payload if isinstance(payload, dict) else {"value": payload}))


# -- reading -----------------------------------------------------------------------------------------------------------


def payload_of(value: bytes | None) -> dict[str, Any]:
    """Return the JSON object that a message holds; an empty one if it holds something else."""
    try:
        return _object(exact_json.loads(value or b"null"))
    except ValueError:
        return {}


def _names(ids: Iterable[str]) -> str:
    every = [printable(station_id, NAME_SHOWN) for station_id in ids]
    more = f" +{len(every) - NAMES_SHOWN}" if len(every) > NAMES_SHOWN else ""
    return " ".join(every[:NAMES_SHOWN]) + more


def _failures(value: Any) -> Iterator[StationOutcome]:
    for failure in _list(value):
        if isinstance(failure, dict) and "station_id" in failure:
            yield StationOutcome(str(failure["station_id"]), "failed", str(failure.get("error") or ""))


def _ids(value: Any) -> list[str]:
    return [str(station_id) for station_id in _list(value)]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _number(value: Any) -> float | None:
    return value if type(value) in {int, float} else None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _json(value: Any) -> str:
    return exact_json.dumps(value).decode()
