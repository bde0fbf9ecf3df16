"""From what a callback returned, or raised, to the `Outcome` of its station.

Nothing that makes an outcome raises: whatever object a user's function hands over, the worst that comes of it is a
failed station.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from enum import Enum
from itertools import islice
from operator import index
from typing import Any
from uuid import UUID

import orjson

from app.callbacks.tracebacks import print_error
from tables.model.enums import Code
from tables.model.fast_dataclass import fast_dataclass
from tables.storage.exact_json import Digits

ERROR_CHARACTERS = 500
TRACEBACK_BYTES = 8 * 1024
_STRANGERS_TOLD = 20

# Dates and dataclasses are no JSON values: without these two orjson would write them, by rules of its own.
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_MAX_DEPTH = 250  # orjson's own limit is 254
_TEXT = frozenset({str})
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


class OutcomeError(Exception):
    """Raised where a call's outcome is known already, since the callback has failed somewhere else."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


@fast_dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one call.

    Attributes:
        code: result, empty, failed or skipped.
        value: RESULT: the JSON text of the result object, or of the bare value where that was asked for. FAILED: the
            error in one line, at most 500 characters. SKIPPED: why. EMPTY: None.
        traceback: FAILED only: where it happened, its last 8 KiB; None where there is nothing to show.
    """

    code: Code
    value: str | None
    traceback: str | None = None


@fast_dataclass(frozen=True, slots=True)
class KeyMissed(Outcome):
    """FAILED by the KeyError of the text `key`, which may be that of a missing column: `app.callbacks.missed_keys`."""

    key: str = ""


EMPTY = Outcome(Code.EMPTY, None)


def _default(value: Any) -> Any:
    """Return what to write of a value that orjson doesn't know: arrays and scalars in forms it doesn't write itself."""
    if isinstance(value, memoryview):  # bytes, which JSON has no form for
        raise TypeError
    return value.tolist()


class _NotJson(TypeError):  # noqa: N818 - internal, and the text is what the user sees
    """A value inside a result that JSON has no form for."""


def encode_result(station_id: str | None, value: object, *, max_bytes: int) -> Outcome:
    """The outcome of a callback that returned.

    Args:
        station_id: becomes the first key of the result object, whatever the callback has put there; None: the JSON is
            that of the value as it is.
        value: None (no result), a dict, or any other JSON value, which becomes `{"station_id": ..., "result": value}`.
            numpy values count as JSON; NaN and Infinity become null.
        max_bytes: a result whose JSON is longer makes the station failed (`AGG_MAX_MESSAGE_BYTES`).
    """
    if value is None:
        return EMPTY
    try:
        data = orjson.dumps(_named(station_id, value), _default, _OPTIONS)
    except BaseException:  # noqa: BLE001 - hooks of the user's objects may raise anything; the slow way names it
        try:
            data = orjson.dumps(_named(station_id, _plain(value, "", ())), option=_OPTIONS)
        except BaseException as error:  # noqa: BLE001 - as above
            return Outcome(Code.FAILED, _one_line(TypeError(f"the result can't be written as JSON: {_why(error)}")))
    if len(data) > max_bytes:
        text = f"the result is {len(data):,} bytes of JSON, over the limit of {max_bytes:,} (AGG_MAX_MESSAGE_BYTES)"
        return Outcome(Code.FAILED, f"ValueError: {text}")
    return Outcome(Code.RESULT, data.decode())


def _why(error: BaseException) -> str:
    """Return why a value can't be written, of the error that writing it has ended with."""
    return str(error) if isinstance(error, _NotJson) else _one_line(error)


def result_text(station_id: str, value: object, max_bytes: int) -> str | None:
    """Return the JSON text of an ordinary result, the same as `encode_result` does, which is to be asked where None."""
    if type(value) is not dict:
        return None
    try:
        named = {"station_id": station_id, **value}
        named["station_id"] = station_id
        data = orjson.dumps(named, _default, _OPTIONS)
    except BaseException:  # noqa: BLE001 - as above
        return None
    return data.decode() if len(data) <= max_bytes else None


def encode_results(
    stations: Sequence[str], value: Any, *, max_bytes: int, bare: Set[str] = frozenset()
) -> tuple[list[Outcome], list[str]]:
    """The outcomes of a callback for many stations that returned.

    Args:
        stations: the ids that the call was made for.
        value: what it returned: a mapping from station id to what a callback for one station would return.
        max_bytes: see `encode_result`.
        bare: those of the stations whose result is encoded as it is, without the id.

    Returns:
        The outcome of each station, in the order of `stations`: empty for those that the mapping leaves out, failed for
        all when it is no mapping, or two of its keys are the same id: integers count as their text. And the strangers:
        ids in the mapping that the call was not made for, as text, the first 20 of them.
    """
    try:
        results = _mapping(value)
        if not _TEXT.issuperset(map(type, results)):
            results = _by_text(results)
    except BaseException as error:  # noqa: BLE001 - the mapping is the user's, and may raise anything
        return [failed(error)] * len(stations), []
    outcomes = [
        encode_result(None if station in bare else station, results[station], max_bytes=max_bytes)
        if station in results
        else EMPTY
        for station in stations
    ]
    if len(results) == len(stations) - outcomes.count(EMPTY):
        return outcomes, []
    asked = set(stations)
    strangers = (key for key in results if key not in asked)
    return outcomes, list(islice(strangers, _STRANGERS_TOLD))


def json_bytes(value: object, what: str) -> bytes:
    """Any JSON value as bytes, numpy and NaN as in `encode_result`: for what a result handler returns, or sends.

    Raises:
        TypeError: it, or something in it, has no form in JSON; the text begins with `what` it is.
    """
    try:
        return orjson.dumps(value, _default, _OPTIONS)
    except Exception:  # noqa: BLE001 - hooks of the user's objects may raise anything; the slow way names it
        try:
            return orjson.dumps(_plain(value, "", ()), option=_OPTIONS)
        except Exception as error:  # noqa: BLE001 - as above
            message = f"{what} can't be written as JSON: {_why(error)}"
            raise TypeError(message) from None if isinstance(error, _NotJson) else error


def failed(error: BaseException) -> Outcome:
    """The outcome of a callback that raised, with its traceback."""
    if type(error) is OutcomeError:  # an exception of the user's may lie about its `__class__`
        return error.outcome
    try:
        shown = end_of(print_error(error))
    except BaseException:  # noqa: BLE001 - an exception of the user's may be unprintable in any way
        shown = None
    if type(error) is KeyError and len(error.args) == 1 and type(error.args[0]) is str:
        return KeyMissed(Code.FAILED, _one_line(error), shown, error.args[0])
    return Outcome(Code.FAILED, _one_line(error), shown)


def out_of_time(reason: str, stack: str) -> Outcome:
    """The outcome of a callback that was cancelled while it stood where the stack says."""
    line = f"TimeoutError: {reason}"
    return Outcome(Code.FAILED, line, end_of(stack + line))


def _mapping(value: Any) -> dict[Any, Any]:
    if type(value) is dict:
        return value
    if not isinstance(value, Mapping):
        message = f"a batch callback returns a dict {{station_id: result}}, this one returned {type(value).__name__}"
        raise TypeError(message)
    return dict(value)


def _by_text(results: dict[Any, Any]) -> dict[str, Any]:
    """The same results by the text of their keys: a frame of pandas, for one, makes integers of ids."""
    by_text: dict[str, Any] = {}
    for key, result in results.items():
        name = _id_text(key)
        if name in by_text:
            message = f"two keys of the results are {name!r} as text"
            raise TypeError(message)
        by_text[name] = result
    return by_text


def _id_text(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    is_integer = hasattr(key, "__index__") and not isinstance(key, bool)
    return str(index(key)) if is_integer else f"{key!r}"  # type: ignore[arg-type]


def _named(station_id: str | None, value: object) -> object:
    if station_id is None:
        return value
    if isinstance(value, dict):
        named = {"station_id": station_id}
        named.update(value)
        named["station_id"] = station_id
        return named
    return {"station_id": station_id, "result": value}


def _plain(value: object, place: str, outer: tuple[int, ...]) -> object:
    """The value in types that orjson writes: it refuses foreign byte order, keys that are numbers, named tuples.

    Args:
        value: anything.
        place: where it stands in the result, such as `guns[2].power`; empty for the result itself.
        outer: the ids of the containers around it.

    Raises:
        _NotJson: it, or something in it, has no form in JSON; the text names the place.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int):
        # JSON has integers of any size, orjson only those of 64 bits.
        return int(value) if _INT64_MIN <= value <= _UINT64_MAX else orjson.Fragment(str(int(value)))
    if isinstance(value, float):
        return orjson.Fragment(value.text) if type(value) is Digits else float(value)
    if isinstance(value, UUID | Enum):  # as orjson does, which has written both where nothing beside was unusual
        return _plain(value.value, place, outer) if isinstance(value, Enum) else str(value)
    return _plain_container(value, place, outer)


def _plain_container(value: object, place: str, outer: tuple[int, ...]) -> object:
    if id(value) in outer:
        raise _NotJson(_at(place, "it contains itself"))
    if len(outer) >= _MAX_DEPTH:
        raise _NotJson(_at(place[:100], f"nested deeper than {_MAX_DEPTH}"))
    outer = (*outer, id(value))
    if isinstance(value, dict):
        return _plain_dict(value, place, outer)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{i}]", outer) for i, item in enumerate(value)]
    return _plain_array(value, place, outer)


def _plain_dict(value: dict[Any, Any], place: str, outer: tuple[int, ...]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, item in value.items():
        name = _key(key, place)
        if name in plain:
            raise _NotJson(_at(place, f"two keys are {name!r} in JSON"))
        plain[name] = _plain(item, f"{place}.{name}" if place else name, outer)
    return plain


def _plain_array(value: Any, place: str, outer: tuple[int, ...]) -> object:
    """A numpy array or scalar, or whatever else has `tolist()`."""
    if not hasattr(value, "tolist") or isinstance(value, memoryview):
        raise _NotJson(_at(place, type(value).__name__))
    try:
        return orjson.Fragment(orjson.dumps(value, option=_OPTIONS))
    except TypeError:
        listed = value.tolist()
    if type(listed) is type(value):  # a long double answers with itself
        return float(value)
    return _plain(listed, place, outer)


def _key(key: object, place: str) -> str:
    """A key as Python's own json module writes it: text, or the text of a number, boolean or None."""
    if isinstance(key, str):
        return _text(key, f"a key of {place}" if place else "a key")
    plain = key.tolist() if hasattr(key, "tolist") else key
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(int(plain))  # orjson writes none of more than 64 bits
    if type(plain) is Digits:
        return plain.text
    if plain is None or isinstance(plain, (bool, float)):
        return orjson.dumps(plain, option=_OPTIONS).decode()
    raise _NotJson(_at(place, f"a key is {type(key).__name__}, not text"))


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _NotJson(_at(place, "text with half of a surrogate pair")) from None
    return str(value)


def _at(place: str, what: str) -> str:
    return f"{what} at {place}" if place else what


def end_of(text: str) -> str:
    """Return what is kept of a traceback: its last 8 KiB."""
    return text.encode("utf-8", "replace")[-TRACEBACK_BYTES:].decode("utf-8", "ignore")


def _one_line(error: BaseException) -> str:
    """`ValueError: text` in one line of at most 500 characters that UTF-8 can hold."""
    line = "an exception"
    try:
        line = type(error).__name__
        text = f"{error}"[: 4 * ERROR_CHARACTERS]
        line = " ".join(f"{line}: {text}".split()) if text.strip() else line
        return line[:ERROR_CHARACTERS].encode("utf-8", "replace").decode()
    except BaseException:  # noqa: BLE001 - __str__ is the user's
        return f"{line}: (its text can't be shown)"
