"""What is sent when a letter is replayed: CONTRACT 8. Pure.

A `bad-*` or `station-failed` letter goes back to its source topic, as a message that never opens a batch. The payload
of a batch that was discarded goes to the output topic, as the operator's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.messages.dead_letters import Letter, Reason
from app.messages.message import OutMessage
from app.messages.output import cut_results
from tables.model.enums import CompletedBy, Status

__all__ = ["CannotReplay", "Replay"]


class CannotReplay(ValueError):  # noqa: N818 - says what is wrong
    """A letter that there is no way of sending again; the text says why."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Makes messages of letters.

    Attributes:
        output_topic: where payloads go.
        with_meta: whether outputs carry `meta` (`AGG_OUTPUT_META`).
        max_bytes: a larger payload goes out in parts (`AGG_MAX_MESSAGE_BYTES`, or what the output topic takes).
        own_topics: the application's internal topics, whose messages belong to the partition that they were in.
        handler_failed: publish the default payload of batches whose result handler failed, too.
    """

    output_topic: str
    with_meta: bool
    max_bytes: int
    own_topics: frozenset[str]
    handler_failed: bool

    def messages(self, letter: Letter) -> list[OutMessage]:
        """What is to be sent for a letter; one message, or the parts of an output.

        Raises:
            CannotReplay: nothing can be sent for it.
        """
        make = _MAKERS.get(letter.reason)
        if make is None:
            message = f"nothing is known of letters with the reason {letter.reason!r}"
            raise CannotReplay(message)
        return make(self, letter)

    def to_source(self, letter: Letter) -> list[OutMessage]:
        """The letter as a source message: of its old batch, where that is known."""
        source = letter.source
        if source is None:
            message = "it does not say which source message it is about"
            raise CannotReplay(message)
        headers = [("replayed", letter.place.encode()), *letter.trace]
        if letter.batch_id is not None:
            headers.insert(0, ("batch-id", letter.batch_id.encode()))
        partition = source.partition if source.topic in self.own_topics else None
        return [OutMessage(source.topic, letter.value, key=letter.key, partition=partition, headers=headers)]

    def to_output(self, letter: Letter) -> list[OutMessage]:
        """The payload of a batch that was not published."""
        try:
            outputs = self._outputs(json.loads(letter.value or b""))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            message = f"its value is not the payload of a batch: {error!r}"
            raise CannotReplay(message) from error
        return [replace(output, headers=[*output.headers, *letter.trace]) for output in outputs]

    def handled(self, letter: Letter) -> list[OutMessage]:
        """The default payload, when that is asked for: consumers may expect what the handler makes."""
        if not self.handler_failed:
            message = "its payload is the default one, which --reason handler-failed publishes"
            raise CannotReplay(message)
        if letter.batch_id is None and letter.station_id is not None:  # a station that passed through
            return [OutMessage(self.output_topic, letter.value, key=letter.key, headers=letter.trace)]
        return self.to_output(letter)

    def cut_off(self, letter: Letter) -> list[OutMessage]:
        """Not possible."""
        message = f"only its first {letter.size} bytes have been kept"
        raise CannotReplay(message)

    def _outputs(self, payload: dict[str, Any]) -> list[OutMessage]:
        meta = payload["meta"]
        meta["status"] = Status.PARTIAL if meta["missing"] else Status.COMPLETE
        meta["completed_by"] = CompletedBy.OPERATOR
        whole = self._bytes(payload, meta)
        # A part of a larger payload was cut to the limit when it became a letter.
        if len(whole) <= self.max_bytes or meta["parts"] > 1:
            return [self._output(payload["batch_id"], meta, whole)]
        frame = len(self._bytes(payload | {"stations": []}, meta)) + 64  # the numbers of a part may be longer
        texts = cut_results([_json(result) for result in payload["stations"]], self.max_bytes - frame)
        outputs = []
        for number, part in enumerate(texts, 1):
            results = [json.loads(text) for text in part]
            numbered = meta | {"part": number, "parts": len(texts)}
            value = self._bytes(payload | {"stations": results, "station_count": len(results)}, numbered)
            outputs.append(self._output(payload["batch_id"], numbered, value))
        return outputs

    def _bytes(self, payload: Mapping[str, Any], meta: Mapping[str, Any]) -> bytes:
        without = {name: value for name, value in payload.items() if name != "meta"}
        return _json(without | ({"meta": meta} if self.with_meta else {})).encode()

    def _output(self, batch_id: str, meta: Mapping[str, Any], value: bytes) -> OutMessage:
        headers = [
            ("completed-by", CompletedBy.OPERATOR.encode()),
            *((name, str(int(meta[name])).encode()) for name in ("revision", "part", "parts")),
        ]
        return OutMessage(self.output_topic, value, key=batch_id.encode(), headers=headers)


def _json(value: object) -> str:
    # Not orjson: a result may hold integers of any size.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_MAKERS: Mapping[str, Callable[[Replay, Letter], list[OutMessage]]] = {
    Reason.BAD_MESSAGE: Replay.to_source,
    Reason.BAD_RECORD: Replay.to_source,
    Reason.STATION_FAILED: Replay.to_source,
    Reason.DISCARDED: Replay.to_output,
    Reason.HANDLER_FAILED: Replay.handled,
    Reason.TOO_LARGE: Replay.cut_off,
}
