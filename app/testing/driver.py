"""The driver: a worker in memory, the messages that a test sends it, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from app.callbacks.loading import UserFunctions
from app.messages.message import OutMessage
from app.observability.counters import Metrics
from app.settings import Settings
from app.testing.host import WorkerHost
from app.testing.message import Message, header_list, value_bytes, view
from app.testing.worker import CrashPoint

__all__ = ["START_TIME", "TopologyTestDriver"]

START_TIME = 1_763_085_600.0  # 2025-11-14 10:00:00 in Asia/Shanghai


class TopologyTestDriver:
    """The whole application in memory, for plain synchronous tests; see `app.testing`."""

    def __init__(
        self,
        callback: Callable[..., Any] | None = None,
        result_handler: Callable[..., Any] | None = None,
        settings: Settings | None = None,
        *,
        batch_callback: Callable[..., Any] | None = None,
        station_result_handler: Callable[..., Any] | None = None,
        start_time: float = START_TIME,
        thread_patience: float = 1.0,
        **setting_overrides: Any,
    ) -> None:
        """A driver with a worker that is running, and empty topics.

        Args:
            callback: the model, `callback(station_id, module_input)`, as `AGG_CALLBACK` would name it.
            result_handler: as `AGG_RESULT_HANDLER` would name it; None: the default payload.
            batch_callback: instead of `callback`, as `AGG_BATCH_CALLBACK` would name it.
            station_result_handler: for pass-through stations, as `AGG_STATION_RESULT_HANDLER` would name it.
            settings: the settings to begin with; None: the defaults. The environment is never read.
            start_time: where the clock stands at first, Unix seconds.
            thread_patience: a `def` runs in a thread, which knows nothing of the virtual clock. The clock stands still
                while it runs, but no longer than so many real seconds; one that takes longer counts as hanging, and is
                still running when the clock goes on.
            setting_overrides: settings by name, such as `batch_timeout=5`.

        Raises:
            pydantic.ValidationError: a setting is unknown, or has a bad value.
            TypeError: not exactly one of `callback` and `batch_callback` is given.
        """
        _refuse_running_loop()
        model = batch_callback if callback is None else callback
        if model is None or (callback is not None and batch_callback is not None):
            text = "give either a callback, for one station, or a batch_callback, for many at once"
            raise TypeError(text)
        given = {} if settings is None else {name: getattr(settings, name) for name in settings.model_fields_set}
        self.settings = Settings(**{**given, **setting_overrides})
        functions = UserFunctions(
            model, result_handler, many=callback is None, station_result_handler=station_result_handler
        )
        self._host = WorkerHost(self.settings, functions, start_time=start_time, patience=thread_patience)
        self._broker = self._host.broker
        try:
            self._host.start_worker()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and let go of everything. What has been sent can still be looked at."""
        self._host.close()

    # -- what a test does --------------------------------------------------------------------------------------------

    def send(
        self,
        message: object,
        topic: str | None = None,
        key: str | bytes | None = None,
        headers: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None = None,
    ) -> tuple[int, int]:
        """Send a message on a topic that the worker reads, and let happen all that can happen without time passing.

        A batch whose callbacks don't wait for anything is in `outputs` when this returns. The clock moves by a few
        milliseconds at most, those for which the pipeline gathers outcomes.

        Args:
            message: bytes and text are sent as they are, None as a message without a value, all else as JSON.
            topic: the first source topic where it is None.
            key: of the message; without one the partitions take turns.
            headers: such as `{"batch-timeout": "2.5"}`.

        Returns:
            The message's partition and offset.

        Raises:
            ValueError: nobody knows that topic.
            Exception: a bug in the pipeline, as it was raised there. What the callback and the result handler raise
                doesn't come out here; it becomes dead letters, as in production.
        """
        self._host.check_open()
        name = topic or self.settings.source_topics[0]
        if name not in self._broker.topics:
            text = f"there is no topic {name}; those that are read are {', '.join(self.settings.foreign_topics)}"
            raise ValueError(text)
        raw_key = key.encode() if isinstance(key, str) else key
        sent = self._broker.append(OutMessage(name, value_bytes(message), key=raw_key, headers=header_list(headers)))
        self._host.settle()
        return sent.partition, sent.offset

    def advance(self, seconds: float) -> None:
        """Move the clock. Everything that becomes due on the way happens, in order, each at its own time."""
        self._host.check_open()
        if not seconds >= 0:
            text = f"the clock moves forward only, not by {seconds!r} s"
            raise ValueError(text)
        self._host.advance(seconds)

    def kill(self) -> None:
        """`kill -9` of the worker: all that it has in memory is gone, callbacks that run too.

        Topics, changelogs and committed offsets stay, and the clock goes on. Messages can be sent; nothing happens to
        them before `restart`.
        """
        self._host.end_worker()

    def restart(self, *, lose_commits: bool = False) -> None:
        """Kill the worker if it is alive, and start a new one, which recovers as a real one does.

        Args:
            lose_commits: the dead worker has not come to commit any offset, so that all that it has read is read
                again. (A real worker commits once a second.)
        """
        self._host.check_open()
        self._host.end_worker()
        if lose_commits:
            self._host.lose_commits()
        self._host.start_worker()

    def crash_before(self, predicate: Callable[[OutMessage], bool] | None, *, unordered: bool = False) -> None:
        """Have the worker die right before it sends the first message of which `predicate` is true; None: don't.

        It is asked about every message on any topic, changelogs too. The crash is one for a worker: it is over with
        the next `restart`.

        Args:
            predicate: of the message that is about to be sent. When the worker is dead already, by the next one.
            unordered: let messages through that stand behind it but go to other partitions, as can happen in Kafka.
        """
        self._host.crash_at(None if predicate is None else CrashPoint(predicate, unordered))

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

    def messages(self, topic: str) -> list[Message]:
        """The messages of any topic, in the order in which they came there."""
        if topic not in self._broker.topics:
            return []
        return [view(message) for message in self._broker.messages(topic)]

    @property
    def now(self) -> float:
        """The virtual time, Unix seconds."""
        return self._host.now

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
        """Whether the worker is dead: `kill`, `crash_before`, or a bug."""
        return self._host.worker is None

    @property
    def spans(self) -> list[Any]:
        """With the setting `traces`: the spans that have ended, of all workers, as OpenTelemetry's SDK has them."""
        return self._host.spans.ended()

    @property
    def metrics(self) -> Metrics:
        """What the worker has counted since its start."""
        if self._host.worker is None:
            text = "the worker is dead"
            raise RuntimeError(text)
        return self._host.worker.pipeline.metrics

    def _working_sets(self) -> Iterable[Any]:
        return () if self._host.worker is None else self._host.worker.pipeline.aggregator.sets.values()


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    text = "the driver brings its own event loop: use it in a plain `def` test, not in an `async def` one"
    raise RuntimeError(text)
