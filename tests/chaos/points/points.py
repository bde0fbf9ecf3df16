"""The points between two effects of the outbox, in one registry, and the settings under which they are passed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["KINDS", "POINTS", "SIDE_TOPIC", "Kind", "Point", "points_of"]

SIDE_TOPIC: Final = "POINTS_SIDE_TOPIC"  # an environment variable: where the result handler sends to by itself

# Nothing may run out of time while workers are away, on a machine of any speed.
PATIENT: Final = {"AGG_BATCH_TIMEOUT": "3000", "AGG_MAX_BATCH_AGE": "3600"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of application, whose outbox has steps that others do not have.

    Attributes:
        settings: besides those that all have.
        output: the output topic's configuration.
        handled: a result handler makes the payload, and sends a message of its own.
        revised: outputs have revisions; stations that are skipped stay missing.
    """

    name: str
    settings: Mapping[str, str]
    output: Mapping[str, str] = field(default_factory=dict)
    handled: bool = False
    revised: bool = False


KINDS: Final = (
    Kind("closing", PATIENT),
    Kind("output", PATIENT),
    Kind("handler", PATIENT | {"AGG_RESULT_HANDLER": "tests.chaos.points.model:handler"}, handled=True),
    # A topic whose messages are so small has each part travel alone.
    Kind("parts", PATIENT | {"AGG_MAX_MESSAGE_BYTES": "2048"}, {"max.message.bytes": "16384"}),
    # One station in thirty takes longer than that, and each makes a revision.
    Kind(
        "revisions",
        {"AGG_BATCH_TIMEOUT": "1", "AGG_LATE_POLICY": "revise", "AGG_REVISE_DELAY": "0.2"},
        revised=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Point:
    """A point: its name, the kind of application that passes it, and what a table says of it in two languages.

    Attributes:
        passed: the name by which a worker knows it; several kinds of application may pass it.
        after: that of the point where the worker before is killed, where the point is one of its successor's recovery.
    """

    name: str
    kind: str
    english: str
    chinese: str
    passed: str = ""
    after: str = ""

    @property
    def trap(self) -> str:
        """The name by which a worker knows it."""
        return self.passed or self.name


POINTS: Final = (
    Point(
        "letters-confirmed",
        "closing",
        "its stations' dead letters are confirmed, `closing` is not stored",
        "场站的死信已确认，`closing` 未存储",
    ),
    Point("closing-sent", "closing", "`closing` is sent, not confirmed", "`closing` 已发送，未确认"),
    Point("closing-stored", "closing", "`closing` is stored, not acknowledged", "`closing` 已存储，未确认消费"),
    Point("acknowledged", "closing", "acknowledged, no output sent", "已确认消费，输出未发送"),
    Point(
        "looked",
        "closing",
        "a successor has looked for the output, and not sent it",
        "接替者已查找输出，未发送",
        after="closing-stored",
    ),
    Point("output-sent", "output", "the output is sent, not confirmed", "输出已发送，未确认"),
    Point("output-confirmed", "output", "the output is confirmed, `closed` not stored", "输出已确认，`closed` 未存储"),
    Point("closed-sent", "output", "`closed` is sent, not confirmed", "`closed` 已发送，未确认"),
    Point("closed-stored", "output", "`closed` is stored", "`closed` 已存储"),
    Point(
        "sent-again",
        "output",
        "a successor has sent the output that was not there, not confirmed",
        "接替者发送了缺失的输出，未确认",
        passed="output-sent",
        after="closing-stored",
    ),
    Point("handler-called", "handler", "the result handler is called", "结果处理函数已被调用"),
    Point("side-confirmed", "handler", "its own message is confirmed", "处理函数自己的消息已确认"),
    Point("handler-returned", "handler", "it has returned, `prepared` is not stored", "已返回，`prepared` 未存储"),
    Point("prepared-stored", "handler", "`prepared` is stored, no output sent", "`prepared` 已存储，输出未发送"),
    Point(
        "handled-confirmed",
        "handler",
        "the handler's output is confirmed, `closed` not stored",
        "处理函数的输出已确认，`closed` 未存储",
        passed="output-confirmed",
    ),
    Point("part-confirmed", "parts", "one part is confirmed, another not sent", "一个分段已确认，另一个未发送"),
    Point(
        "parts-confirmed",
        "parts",
        "all parts are confirmed, `closed` not stored",
        "所有分段已确认，`closed` 未存储",
        passed="output-confirmed",
    ),
    Point("revision-stored", "revisions", "a revision is decided and stored", "修订已决定并存储"),
    Point("revision-sent", "revisions", "its output is sent, not confirmed", "修订的输出已发送，未确认"),
    Point("revision-confirmed", "revisions", "it is confirmed, not stored as out", "修订的输出已确认，未存储为已输出"),
    Point("revision-closed", "revisions", "it is stored as out", "修订已存储为已输出"),
)


def points_of(kind: Kind, chosen: Sequence[str]) -> list[Point]:
    """Return the points that an application of that kind passes, as far as they are chosen."""
    return [point for point in POINTS if point.kind == kind.name and point.name in chosen]
