"""One batch as it went: its timeline, and what was published of it.

What is durable is told by the worker that has the batch and by Kafka; when callbacks ran, by the workers that ran them,
as long as they remember it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import orjson
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field, JsonValue, TypeAdapter

from app.messages.message import InMessage
from app.messages.output import OutputId, output_id
from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import SHOWN_CHARACTERS, Refusal, api_router, described
from app.web.models import STATUS_OF, Answer, OutcomeStatus
from app.web.paging import BatchId, LocalQuery
from app.web.routers.batches import UNKNOWN_BATCH, Batches
from app.web.routers.letters import Letters
from app.web.state import WorkerState
from app.web.topics import NotReadable, Published
from tables.looks import course_of
from tables.model.enums import Action, CompletedBy, Status
from tables.model.events import Source
from tables.storage.course import Course
from tables.storage.exact_json import loads_roughly

T = TypeVar("T")

WITHIN: Final = 1.9  # seconds of an answer
_LEAST: Final = 0.1  # of these, for Kafka
_REPLAYING: Final = 10.0  # seconds that a replay takes to be remembered, after the first letter was sent
_CHECKED: Final = 2 * 1024 * 1024  # bytes; to parse more of a payload, only to see that it is JSON, takes too long
_COURSE: Final = "/courses/"
_TIMES: Final = "/times/"

_OUTPUT_ANSWERS: Final = UNKNOWN_BATCH | described(
    {
        404: "It is not known (`unknown-batch`); or the topic has let go of its output (`no-longer-kept`)",
        503: "Kafka does not answer (`broker-away`)",
        504: "The worker that has it does not answer",
    }
)


class Output(Answer):
    """One output message."""

    topic: str
    partition: int
    offset: int
    timestamp: float = Field(description="Kafka's, Unix seconds")
    revision: int
    part: int
    parts: int
    headers: dict[str, str]
    value: JsonValue = Field(description="The payload as it was published; text where it is no JSON")


class Outputs(Answer):
    """All output messages of a batch, by revision and part; none while it is open, or discarded and not replayed."""

    outputs: list[Output]


class SourcePlace(Answer):
    """A message that the batch was made of."""

    topic: str
    partition: int
    offset: int
    timestamp: float | None = Field(
        description="Kafka's, Unix seconds; null where the topic has it no more, or Kafka has not told it in time"
    )


class EventKind(StrEnum):
    """What happened, in the order in which it does where the time is the same."""

    OPENED = "opened"
    SUPPLEMENTED = "supplemented"
    STATION = "station"
    EXTENDED = "extended"
    CLOSED = "closed"
    LATE = "late"
    REVISED = "revised"
    PUBLISHED = "published"


_ORDER: Final = {kind: place for place, kind in enumerate(EventKind)}


class Event(Answer):
    """Something that happened to the batch."""

    at: float = Field(
        description="Unix seconds. Of a station whose worker does not remember it: when the last one arrived in time"
    )
    event: EventKind
    station_id: str | None = Field(None, description="Of `station` and `late`; null of a whole message that was late")
    status: str | None = Field(
        None,
        description="Of a station: result, empty, failed, skipped; of `closed`, `revised`: complete, partial, …",
    )
    started_at: float | None = Field(
        None, description="When its callback began, Unix seconds; null when the worker does not remember it"
    )
    by: str | None = Field(None, description="The operator; of `closed` without one the rule: all, timeout, ratio")
    revision: int | None = Field(None, description="Of `closed`, `revised` and `published`")
    topic: str | None = Field(None, description="Of `published`, where that is known, like the next two")
    partition: int | None = None
    offset: int | None = None


class Timeline(Answer):
    """The course of a batch, in the order of time."""

    sources: list[SourcePlace]
    events: list[Event]
    incomplete: list[str] = Field(description="URLs of workers that have not told when their callbacks ran")


class _Source(NamedTuple):
    topic: str
    partition: int
    offset: int
    opened_at: float


class _Place(NamedTuple):
    revision: int
    closed_at: float
    topic: str
    partition: int


class OwnCourse(Answer):
    """What the worker that has a batch tells of its course."""

    sources: list[_Source]
    arrivals: list[tuple[str, str, float | None]]  # station, status, when: None, not known any more
    arrived_at: float | None
    others: list[Event]
    places: list[_Place]  # where outputs went
    closed_at: float | None
    withheld: _Place | None = None  # where the output of a batch that was discarded would have gone


_OWN: Final = TypeAdapter(Share[OwnCourse | None])
_Times = dict[str, tuple[float, float]]  # by station, when its callback began and ended
_TIMES_SHARE: Final = TypeAdapter(Share[_Times])


class Courses:
    """The courses of batches, as one worker finds them."""

    def __init__(self, state: WorkerState, cluster: Cluster, batches: Batches, letters: Letters) -> None:
        self._state = state
        self._cluster = cluster
        self._batches = batches
        self._letters = letters

    def router(self) -> APIRouter:
        """Serve a batch's output and timeline, and the workers' shares of them."""
        router = api_router("batches")
        answers: dict[int | str, dict[str, Any]] = {200: {"model": Outputs}}
        router.get("/batches/{batch_id}/output", response_class=Response, responses=answers | _OUTPUT_ANSWERS)(
            self.output
        )
        answers = {200: {"model": Timeline}}
        router.get("/batches/{batch_id}/timeline", response_class=Response, responses=answers | UNKNOWN_BATCH)(
            self.timeline
        )
        router.get(INTERNAL + _COURSE + "{batch_id}", include_in_schema=False)(self.own_course)
        router.get(INTERNAL + _TIMES + "{batch_id}", include_in_schema=False)(self.own_times)
        return router

    async def output(self, batch_id: BatchId, local: LocalQuery = None) -> Response:
        """What was published of a batch, also by a result handler or a replay, as it stands in the output topic."""
        give_up_at = _now() + WITHIN
        course = await self._find(batch_id, local=bool(local))
        try:
            published = await _before(give_up_at, self._published(batch_id, course))
        except NotReadable as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "broker-away", str(error)) from error
        if not published.messages and (published.is_gone or (course.places and not self._is_handled)):
            topics = ", ".join(dict.fromkeys(place.topic for place in (*course.places, course.withheld) if place))
            message = f"{topics} has the output of batch {batch_id[:SHOWN_CHARACTERS]} no more"
            raise Refusal(HTTPStatus.NOT_FOUND, "no-longer-kept", message)
        return _json({"outputs": [_output_of(message) for message in published.messages]})

    async def timeline(self, batch_id: BatchId, local: LocalQuery = None) -> Response:
        """The course of a batch: its messages, stations' outcomes, deadlines moved, closing, outputs, what was late.

        All but the times of single stations is known as long as the batch is; those are in the memory of the workers
        that ran the callbacks, of their latest 50,000 stations.
        """
        give_up_at = _now() + WITHIN
        path = _TIMES + quote(batch_id, safe="")
        asking = asyncio.ensure_future(
            self._cluster.gather(path, _given(self._own_times(batch_id)), _TIMES_SHARE.validate_json, local=bool(local))
        )
        try:
            course = await self._find(batch_id, local=bool(local))
            found, published = await asyncio.gather(
                _before(give_up_at, self._source_times(course)),
                _before(give_up_at, self._published(batch_id, course)),
                return_exceptions=True,
            )
            gathered = await asking
        finally:
            asking.cancel()
        times: _Times = {}
        for share in gathered.shares:
            times |= share
        events = [*course.others, *stations_in(course, times)]
        events += _publications(course, _known(published, None), handled=self._is_handled)
        events = [_with_start(event, times) if event.event is EventKind.LATE else event for event in events]
        events.sort(key=lambda event: (event.at, _ORDER[event.event]))
        stamps = _known(found, {})
        sources = [
            {"topic": topic, "partition": partition, "offset": offset, "timestamp": stamps.get(Source(*place))}
            for topic, partition, offset, _ in course.sources
            if (place := (topic, partition, offset))
        ]
        return _json(
            {"sources": sources, "events": [dict(event) for event in events], "incomplete": gathered.incomplete}
        )

    async def own_course(self, batch_id: BatchId) -> Share[OwnCourse | None]:
        """Return the course of a batch of this worker, None when it has none of this id."""
        return share_of(self._state, self._own(batch_id))

    async def own_times(self, batch_id: BatchId) -> Share[_Times]:
        """Return when callbacks of a batch ran on this worker."""
        return share_of(self._state, self._own_times(batch_id))

    async def _find(self, batch_id: str, *, local: bool) -> OwnCourse:
        return await self._batches.find(batch_id, lambda: self._own(batch_id), _COURSE, _OWN, local=local)

    def _own(self, batch_id: str) -> OwnCourse | None:
        for working_set in self._state.working_sets().values():
            if (course := course_of(working_set, batch_id)) is not None:
                return _told(course)
        return None

    def _own_times(self, batch_id: str) -> _Times:
        times = self._state.statistics.times.of(batch_id)
        return {station: (one.started_at, one.ended_at) for station, one in times.items()}

    async def _source_times(self, course: OwnCourse) -> Mapping[Source, float]:
        sources = {Source(one.topic, one.partition, one.offset): one.opened_at for one in course.sources}
        return await self._state.topics.source_times(sources)

    @property
    def _is_handled(self) -> bool:
        """Whether a function of the user's may have published in its own way."""
        return self._state.settings.result_handler is not None

    async def _published(self, batch_id: str, course: OwnCourse) -> Published:
        by_partition: dict[tuple[str, int], dict[int, float]] = {}
        for place in course.places:
            by_partition.setdefault((place.topic, place.partition), {})[place.revision] = place.closed_at
        found = [
            await self._state.topics.outputs(batch_id, topic, partition, closings)
            for (topic, partition), closings in by_partition.items()
        ]
        messages = [message for one in found for message in one.messages]
        is_gone = any(one.is_gone for one in found)
        unpublished = course.withheld or (course.places[0] if self._is_handled and course.places else None)
        if unpublished is not None and not messages:
            replayed = await self._replayed(batch_id, unpublished)
            return Published(replayed.messages, is_gone or replayed.is_gone)
        return Published(messages, is_gone)

    async def _replayed(self, batch_id: str, place: _Place) -> Published:
        """Find the payload of a batch that was discarded, or failed its result handler, and has been replayed."""
        at = await self._letters.payload_replayed_at(batch_id, place.closed_at)
        if at is None:
            return Published([], is_gone=False)
        closings = {place.revision: at - _REPLAYING}
        return await self._state.topics.outputs(batch_id, place.topic, place.partition, closings)


# -- the course --------------------------------------------------------------------------------------------------------


def _told(course: Course) -> OwnCourse:
    steps = course.steps
    places = [
        (_Place(step.revision, step.at, step.destination.topic, step.destination.partition), step.status)
        for step in steps
        if step.is_out and step.destination is not None
    ]
    return OwnCourse(
        sources=[_Source(*source.source, source.opened_at) for source in course.sources],
        arrivals=[(station, STATUS_OF[code], at) for station, (code, at) in course.arrivals.items()],
        arrived_at=course.arrived_at,
        others=[*_openings(course), *_extensions(course), *_decisions(course), *_late(course)],
        places=[place for place, status in places if status is not Status.DISCARDED],
        withheld=next((place for place, status in places if status is Status.DISCARDED), None),
        closed_at=steps[0].at if steps else None,
    )


def _openings(course: Course) -> list[Event]:
    kinds = [EventKind.OPENED] + [EventKind.SUPPLEMENTED] * (len(course.sources) - 1)
    return [
        Event(at=source.opened_at, event=EventKind.LATE if source.late else kind)
        for source, kind in zip(course.sources, kinds, strict=True)
    ]


def _extensions(course: Course) -> list[Event]:
    return [Event(at=at, event=EventKind.EXTENDED, by=by) for at, by in course.extensions]


def _decisions(course: Course) -> list[Event]:
    events: list[Event] = []
    for step in course.steps:
        by: str | None = step.completed_by
        if step.completed_by is CompletedBy.OPERATOR and course.operator is not None:
            by = course.operator.by if course.operator.action is not Action.EXTEND else by
        is_first = not events
        events.append(
            Event(
                at=step.at,
                event=EventKind.CLOSED if is_first else EventKind.REVISED,
                status=step.status,
                by=by if is_first else None,
                revision=step.revision,
            )
        )
    return events


def _late(course: Course) -> list[Event]:
    return [
        Event(at=group.at, event=EventKind.LATE, station_id=station, status=STATUS_OF[code])
        for group in course.late
        for station, code in zip(group.stations, group.codes, strict=True)
    ]


def stations_in(course: OwnCourse, times: _Times) -> list[Event]:
    """Return an event for each station that arrived in time; none of them is after the closing."""
    events: list[Event] = []
    latest = course.closed_at
    for station, status, at in course.arrivals:
        started_at, ended_at = times.get(station, (None, None))
        # What was skipped has not arrived: it was given up at its deadline, and the batch with it.
        arrived_at = None if status == OutcomeStatus.SKIPPED else course.arrived_at
        came = at or ended_at or arrived_at or latest or 0.0
        came = came if latest is None else min(came, latest)
        started_at = None if started_at is None else min(started_at, came)
        events.append(Event(at=came, event=EventKind.STATION, station_id=station, status=status, started_at=started_at))
    return events


def _with_start(event: Event, times: _Times) -> Event:
    started_at, _ = times.get(event.station_id or "", (None, None))
    return event if started_at is None else event.model_copy(update={"started_at": min(started_at, event.at)})


def _publications(course: OwnCourse, published: Published | None, *, handled: bool) -> list[Event]:
    """Return an event for each output; where it can't be read, for each that must have been there.

    `handled`: by a function of the user's, which may have published in its own way.
    """
    if published is not None and published.messages:
        closings = {place.revision: place.closed_at for place in course.places}
        return [_publication(message, closings) for message in published.messages]
    if published is not None and not published.is_gone and handled:
        return []
    return [
        Event(
            at=place.closed_at,
            event=EventKind.PUBLISHED,
            revision=place.revision,
            topic=place.topic,
            partition=place.partition,
        )
        for place in course.places
    ]


def _publication(message: InMessage, closings: Mapping[int, float]) -> Event:
    found = output_id(message.key, message.headers, None)
    revision = 1 if found is None else found.revision
    return Event(
        at=max(message.timestamp, closings.get(revision, 0.0)),  # Kafka has milliseconds
        event=EventKind.PUBLISHED,
        revision=revision,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
    )


# -- outputs -----------------------------------------------------------------------------------------------------------


def _output_of(message: InMessage) -> dict[str, Any]:
    headers = {name: value.decode(errors="replace") for name, value in message.headers if value is not None}
    found = output_id(message.key, message.headers, None) or OutputId(b"", 1, 1, 1, 0)
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "revision": found.revision,
        "part": found.part,
        "parts": found.parts,
        "headers": headers,
        "value": _payload(b"null" if message.value is None else message.value),
    }


def _payload(value: bytes) -> object:
    """Return what stands for a payload in an answer: its own bytes, so that no digit is lost, or text."""
    try:
        if len(value) > _CHECKED and value[:1] == b"{" and value[-1:] == b"}":
            value.decode()  # what the publisher sends is JSON
        else:
            loads_roughly(value)
    except ValueError:
        return value.decode(errors="replace")
    return orjson.Fragment(value)


# -- both --------------------------------------------------------------------------------------------------------------


def _json(answer: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")


def _given(value: T) -> asyncio.Future[T]:
    """Return a future that has this result: unlike a coroutine, nobody need await it."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _before(give_up_at: float, work: Awaitable[T]) -> T:
    """Await work until a time of the loop's.

    Raises:
        NotReadable: It has not ended by then, or has said so itself.
    """
    try:
        return await asyncio.wait_for(work, max(_LEAST, give_up_at - _now()))
    except TimeoutError as error:
        message = "Kafka has not answered in time"
        raise NotReadable(message) from error


def _known(found: T | BaseException, otherwise: T) -> T:
    """Return what was found; an error that is not Kafka's goes on."""
    if isinstance(found, NotReadable):
        return otherwise
    if isinstance(found, BaseException):
        raise found
    return found
