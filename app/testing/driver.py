"""The driver: a worker in memory, the messages that a test sends it, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from app.callbacks.given import unfit
from app.callbacks.loading import FunctionError, Functions, UserFunctions, find_functions, load_function
from app.inputs.guns import AlignmentError
from app.messages.message import Clock, InMessage, OutMessage
from app.observability.counters import Metrics
from app.observability.tracing import Traces
from app.settings import Settings
from app.settings.loading import settings_of
from app.settings.model import PREFIX
from app.testing.broker import MemoryBroker
from app.testing.virtual_loop import VirtualLoop
from app.testing.worker import CrashPoint, MemoryWorker
from tables.storage import exact_json

START_TIME = 1_763_085_600.0  # 2025-11-14 10:00:00 in Asia/Shanghai
SETTLE_SECONDS = 0.01  # outcomes may be gathered for 4 ms before they are sent (app/pipeline/stations/outcomes.py)
_NO_SETTINGS = ("start_time", "thread_patience")  # keywords of the driver alone
_UNHEARD = {"task", "future", "asyncgen"}  # in what a loop's exception handler gets: nobody awaits these


@dataclass(frozen=True, slots=True)
class Message:
    r"""A message of any topic as a test looks at it.

    Attributes:
        topic: where it is.
        key: its key as text, None where it has none; bytes that are no UTF-8 are shown as `\xff`.
        value: its JSON, decoded; bytes where it isn't JSON, None where it has no value.
        headers: their texts by name.
        partition: where it is.
        offset: where it is.
        timestamp: Unix seconds, virtual.
        raw: the bytes of the value.
        raw_key: the bytes of the key.
    """

    topic: str
    key: str | None
    value: Any
    headers: dict[str, str]
    partition: int
    offset: int
    timestamp: float
    raw: bytes | None
    raw_key: bytes | None


class Application(Protocol):
    """What `create_app` makes, as far as a driver wants to know.

    Attributes:
        settings: of the program and the environment.
        given: the functions that the program gave as objects.
    """

    settings: Settings
    given: Functions


class TopologyTestDriver:
    """The whole application in memory, for plain synchronous tests; see `app.testing`."""

    def __init__(
        self,
        callback: Callable[..., Any] | str | None = None,
        result_handler: Callable[..., Any] | str | None = None,
        settings: Settings | None = None,
        *,
        batch_callback: Callable[..., Any] | str | None = None,
        station_result_handler: Callable[..., Any] | str | None = None,
        start_time: float = START_TIME,
        thread_patience: float = 1.0,
        **setting_overrides: Any,
    ) -> None:
        """A driver with a worker that is running, and empty topics.

        Args:
            callback: the model, `callback(station_id, module_input)`: the function, or its name as in `AGG_CALLBACK`.
            result_handler: the same as in `AGG_RESULT_HANDLER`; None: the default payload.
            batch_callback: instead of `callback`, the same as in `AGG_BATCH_CALLBACK`.
            station_result_handler: for pass-through stations, the same as in `AGG_STATION_RESULT_HANDLER`.
            settings: the settings to begin with; None: the defaults. The environment is never read.
            start_time: where the clock stands at first, Unix seconds.
            thread_patience: a `def` runs in a thread, which knows nothing of the virtual clock. The clock stands still
                while it runs, but no longer than so many real seconds; one that takes longer counts as hanging, and is
                still running when the clock goes on.
            setting_overrides: settings by name, such as `batch_timeout=5`.

        Raises:
            pydantic.ValidationError: a setting is unknown, or has a bad value; a line each, as `create_app` has it.
            TypeError: not exactly one of `callback` and `batch_callback` is given.
            FunctionError: a name does not lead to a function, or a function can't be called as it would be.
        """
        _refuse_running_loop()
        model = batch_callback if callback is None else callback
        if model is None or (callback is not None and batch_callback is not None):
            text = "give either a callback, for one station, or a batch_callback, for many at once"
            raise TypeError(text)
        given = {} if settings is None else {name: getattr(settings, name) for name in settings.model_fields_set}
        self.settings = settings_of({**given, **setting_overrides}, _NO_SETTINGS)
        many = callback is None
        handler, station_handler = (
            None if given is None else _found(given, name)
            for given, name in (
                (result_handler, "result_handler"),
                (station_result_handler, "station_result_handler"),
            )
        )
        self._functions = UserFunctions(
            _found(model, "batch_callback" if many else "callback"),
            handler,
            many=many,
            station_result_handler=station_handler,
        )
        self._start_time = start_time
        self._patience = thread_patience
        # Topics, spans and clock outlive a worker.
        self._broker = MemoryBroker(self.settings, lambda: self.now)
        self._traces, self._ended_spans = _traces_in_memory(self.settings, lambda: self.now)
        self._loop = self._new_loop(0.0)
        self._worker: MemoryWorker | None = None
        self._errors: list[BaseException] = []
        self._crash: CrashPoint | None = None
        self._committed_at_start: dict[tuple[str, int], int] = {}
        self._closed = False
        try:
            self._start_worker()
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, app: Application, **options: Any) -> Self:
        """Make a driver of what `create_app` has made: its functions and its settings; its agents do not run.

        Args:
            app: the application of a module of the user's.
            options: as of the driver itself, such as `start_time`, and settings that differ here.

        Raises:
            FunctionError: a setting does not lead to a function.
        """
        found = find_functions(app.settings, app.given)
        return cls(
            None if found.many else found.callback,
            found.result_handler,
            app.settings,
            batch_callback=found.callback if found.many else None,
            station_result_handler=found.station_result_handler,
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and let go of everything. What has been sent can still be looked at."""
        if not self._closed:
            self.kill()
            self._loop.close()
            self._closed = True

    # -- what a test does --------------------------------------------------------------------------------------------

    def send(
        self,
        message: object,
        topic: str | None = None,
        key: str | bytes | None = None,
        headers: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None = None,
        *,
        timestamp: float | None = None,
    ) -> tuple[int, int]:
        """Send a message on a topic that the worker reads, and let happen all that can happen without time passing.

        A batch whose callbacks don't wait for anything is in `outputs` when this returns. The clock moves by a few
        milliseconds at most, those for which the pipeline gathers outcomes while others are to come.

        Args:
            message: bytes and text are sent as they are, None as a message without a value, all else as JSON.
            topic: the first source topic where it is None.
            key: of the message; without one the partitions take turns.
            headers: such as `{"batch-timeout": "2.5"}`.
            timestamp: Kafka's, Unix seconds; None: the clock's, `now`. Times in the message that are later by more than
                `max_ahead` are not usable; 0 stands for a message without a timestamp.

        Returns:
            The message's partition and offset.

        Raises:
            ValueError: nobody knows that topic.
            Exception: a bug in the pipeline, as it was raised there. What the callback and the result handler raise
                doesn't come out here; it becomes dead letters, as in production.
        """
        self._check_open()
        name = topic or self.settings.source_topics[0]
        if name not in self._broker.topics:
            text = f"there is no topic {name}; those that are read are {', '.join(self.settings.foreign_topics)}"
            raise ValueError(text)
        raw_key = key.encode() if isinstance(key, str) else key
        value, header_list = _value_bytes(message), _header_list(headers)
        sent = self._broker.append(OutMessage(name, value, raw_key, headers=header_list, timestamp=timestamp))
        self._settle()
        return sent.partition, sent.offset

    def context(self, topic: str, records: object, key: str | bytes | None = None) -> tuple[int, int]:
        """Send records of a context topic: a list of them, one, or whatever form its messages may have.

        When this returns, callbacks that begin from now on know them. Records of a time long past are what such a test
        mostly wants; their message has the clock's.

        Args:
            topic: one of `AGG_CONTEXT_TOPICS`.
            records: as in a message; None as one without a value, which deletes what is known of the station `key`.
            key: of the message.

        Returns:
            The message's partition and offset.

        Raises:
            ValueError: it is no context topic.
        """
        self._check_context(topic)
        return self.send(records, topic, key)

    def _check_context(self, topic: str) -> None:
        if topic not in (known := self.settings.context_names):
            those = f"those are {', '.join(known)}" if known else "there is none"
            text = f"{topic} is no context topic; {those} (context_topics={topic!r} makes it one)"
            raise ValueError(text)

    def advance(self, seconds: float) -> None:
        """Move the clock. Everything that becomes due on the way happens, in order, each at its own time."""
        self._check_open()
        if not seconds >= 0:
            text = f"the clock moves forward only, not by {seconds!r} s"
            raise ValueError(text)
        target = self._loop.time() + seconds
        self._run(target)
        self._loop.move_to(target)

    def kill(self) -> None:
        """`kill -9` of the worker: all that it has in memory is gone, callbacks that run too.

        Topics, changelogs and committed offsets stay, and the clock goes on. Messages can be sent; nothing happens to
        them before `restart`.
        """
        worker, self._worker = self._worker, None
        if worker is not None:
            loop, self._loop = self._loop, self._new_loop(self._loop.time())
            loop.dispose(worker.stop())

    def restart(self, *, lose_commits: bool = False) -> None:
        """Kill the worker if it is alive, and start a new one, which recovers as a real one does.

        Args:
            lose_commits: the dead worker has not come to commit any offset, so that all that it has read is read
                again. (A real worker commits once a second.)
        """
        self._check_open()
        self.kill()
        if lose_commits:
            self._broker.committed = dict(self._committed_at_start)
        self._start_worker()

    def crash_before(self, predicate: Callable[[OutMessage], bool] | None, *, unordered: bool = False) -> None:
        """Have the worker die right before it sends the first message of which `predicate` is true; None: don't.

        It is asked about every message on any topic, changelogs too. The crash is one for a worker: it is over with
        the next `restart`.

        Args:
            predicate: of the message that is about to be sent. When the worker is dead already, by the next one.
            unordered: let messages through that stand behind it but go to other partitions, as can happen in Kafka.
        """
        crash = None if predicate is None else CrashPoint(predicate, unordered)
        if self._worker is None:
            self._crash = crash
        else:
            self._worker.crash = crash

    # -- what a test looks at ----------------------------------------------------------------------------------------

    @property
    def outputs(self) -> list[Message]:
        """The messages of the output topic, in the order in which they came out."""
        return self.messages(self.settings.output_topic)

    @property
    def late(self) -> list[Message]:
        """The messages of the late topic."""
        return self.messages(self.settings.late_topic)

    @property
    def dead_letters(self) -> list[Message]:
        """The messages of the dead-letter topic."""
        return self.messages(self.settings.dead_letter_topic)

    def window(self, station: str, topic: str) -> dict[str, Any]:
        """The columns of a context topic as the station's callback would get them now; `{}` where nothing is known.

        A window of a duration ends with the clock's time, `now`.

        Raises:
            ValueError: it is no context topic.
            AlignmentError: the topic's records can't be aligned; the station's callback gets none of any topic.
        """
        self._check_context(topic)
        stations = self._alive().pipeline.stations
        columns = stations.context_of(station, stations.aligner)[topic]
        if isinstance(columns, AlignmentError):
            raise columns
        return columns

    def messages(self, topic: str) -> list[Message]:
        """The messages of any topic, in the order in which they came there."""
        if topic not in self._broker.topics:
            return []
        return [_view(message) for message in self._broker.messages(topic)]

    @property
    def now(self) -> float:
        """The virtual time, Unix seconds."""
        return self._start_time + self._loop.time()

    @property
    def open_batches(self) -> list[str]:
        """Ids of the batches that wait for stations."""
        return [batch_id for working_set in self._working_sets() for batch_id in working_set.open]

    @property
    def closed_batches(self) -> list[str]:
        """Ids of the batches that are decided, and still remembered."""
        return [
            batch_id for working_set in self._working_sets() for batch_id in (*working_set.closed, *working_set.closing)
        ]

    @property
    def crashed(self) -> bool:
        """True when the worker is dead: `kill`, `crash_before`, or a bug."""
        return self._worker is None

    @property
    def spans(self) -> list[Any]:
        """With the setting `traces`: the spans that have ended, of all workers, as OpenTelemetry's SDK has them."""
        return self._ended_spans()

    @property
    def metrics(self) -> Metrics:
        """The worker's counters since its start."""
        return self._alive().pipeline.metrics

    def _alive(self) -> MemoryWorker:
        if self._worker is None:
            text = "the worker is dead"
            raise RuntimeError(text)
        return self._worker

    def _working_sets(self) -> Iterable[Any]:
        return () if self._worker is None else self._worker.pipeline.aggregator.sets.values()

    # -- the worker and its clock ------------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        """Start a worker, and let it recover."""
        self._crash, crash = None, self._crash
        self._committed_at_start = dict(self._broker.committed)
        self._worker = MemoryWorker(
            self.settings,
            self._functions,
            broker=self._broker,
            clock=lambda: self.now,
            crash=crash,
            on_end=self._on_end,
            traces=self._traces,
        )
        self._loop.worker_calls = self._worker.worker_calls
        self._worker.start(self._loop)
        self._settle()

    def _check_open(self) -> None:
        if self._closed:
            text = "the driver is closed"
            raise RuntimeError(text)

    def _settle(self) -> None:
        """Let happen all that can happen without waiting; a few milliseconds pass."""
        self._run(self._loop.time() + SETTLE_SECONDS)

    def _run(self, until: float) -> None:
        self._loop.run_until_idle(until)
        if self._worker is not None and not self._worker.alive:
            self.kill()
        if self._errors:
            error = self._errors[0]
            self._errors.clear()
            raise error

    def _new_loop(self, now: float) -> VirtualLoop:
        loop = VirtualLoop(now, patience=self._patience)
        loop.set_exception_handler(self._on_loop_error)
        return loop

    def _on_end(self, error: BaseException | None) -> None:
        if error is not None:
            self._errors.append(error)
        self._loop.stop()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take an error that asyncio can raise nowhere. It is a bug of ours unless nobody awaits the task it is of."""
        error = context.get("exception")
        if loop is self._loop and isinstance(error, Exception) and not _UNHEARD & context.keys():
            self._on_end(error)
        else:
            loop.default_exception_handler(context)


def _found(function: Callable[..., Any] | str, name: str) -> Callable[..., Any]:
    """Return a function that is given by a keyword, or the one that a path leads to.

    Raises:
        FunctionError: there is none, or a worker would refuse it.
    """
    if isinstance(function, str):
        return load_function(function, PREFIX + name.upper())
    if (problem := unfit(name, function)) is not None:
        raise FunctionError(problem)
    return function


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    text = "the driver brings its own event loop: use it in a plain `def` test, not in an `async def` one"
    raise RuntimeError(text)


def _traces_in_memory(settings: Settings, clock: Clock) -> tuple[Traces, Callable[[], list[Any]]]:
    """Traces that keep their spans in memory, and a function that returns those that have ended, in that order."""
    if not settings.traces:
        return Traces(), list
    # Imported where they are wanted: OpenTelemetry need not be installed.
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

    from app.observability.opentelemetry import OpenTelemetryTraces  # noqa: PLC0415

    exporter = InMemorySpanExporter()
    traces = OpenTelemetryTraces(settings.app_id, SimpleSpanProcessor(exporter), clock)
    return traces, lambda: list(exporter.get_finished_spans())


def _view(message: InMessage) -> Message:
    """Decode a message for a test."""
    return Message(
        topic=message.topic,
        key=None if message.key is None else _text(message.key),
        value=_parsed(message.value),
        headers={name: _text(value) for name, value in message.headers},
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
        raw=message.value,
        raw_key=message.key,
    )


def _value_bytes(value: object) -> bytes | None:
    """Encode what a test sends: bytes, text and None stay as they are, everything else becomes JSON."""
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else exact_json.dumps(value)


def _header_list(
    headers: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None,
) -> list[tuple[str, bytes]]:
    """Encode headers as the pipeline knows them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _parsed(value: bytes | None) -> Any:
    try:
        return None if value is None else exact_json.loads(value)
    except ValueError:
        return value
