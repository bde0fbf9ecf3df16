"""The job in Bytewax, with recovery: one worker, snapshots each ten seconds, as its documentation shows.

A message becomes an opening and its stations; they are spread over the workers for the callback, and meet again under
their batch's key, whose state knows the expected stations and a deadline. Positions and states are restored from the
last snapshot, so what came out since comes out again; `redistribute` spreads stations, but in no order.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from tests.bench.peers.job import TIMEOUT, encode_output, options, parse, result_of

SNAPSHOTS = timedelta(seconds=10)

Event = tuple[str | None, Any]
"""A station and its records, later its result; None and a batch's opening: its id, Unix seconds, expected stations."""


class Merge(StatefulLogic):  # type: ignore[misc]
    """The state of a batch: its opening, and the results that have arrived."""

    def __init__(self, state: tuple[float, Any, dict[str, str | None]] | None) -> None:
        self._opening: tuple[str, float, list[str]] | None
        self._began, self._opening, self._results = state or (time.time(), None, {})

    def on_item(self, value: Event) -> tuple[Iterable[bytes], bool]:
        station, content = value
        if station is None:
            self._opening = content
        else:
            self._results[station] = content
        if self._opening is not None and len(self._results) >= len(self._opening[2]):
            return self.on_notify()
        return (), StatefulLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[bytes], bool]:
        out = () if self._opening is None else (encode_output(*self._opening, self._results),)
        return out, StatefulLogic.DISCARD

    def notify_at(self) -> datetime:
        return datetime.fromtimestamp(self._began + TIMEOUT, UTC)

    def snapshot(self) -> Any:
        return self._began, self._opening, self._results.copy()


def flow_of(servers: str, source: str, output: str) -> Any:
    """Return the dataflow."""

    def split(message: Any) -> Iterator[tuple[str, Event]]:
        batch = parse(source, message.value)
        yield batch.batch_id, (None, (batch.batch_id, time.time(), list(batch.stations)))
        for station, records in batch.stations.items():
            yield batch.batch_id, (station, records)

    def call(item: tuple[str, Event]) -> tuple[str, Event]:
        batch_id, (station, content) = item
        return item if station is None else (batch_id, (station, result_of(source, station, content)))

    def message_of(item: tuple[str, bytes]) -> Any:
        return KafkaSinkMessage(item[0].encode(), item[1])

    flow = Dataflow("merge")
    messages = op.input("source", flow, KafkaSource([servers], [source]))
    spread = op.redistribute("spread", op.flat_map("split", messages, split))
    merged = op.stateful("merge", op.map("callback", spread, call), Merge)
    op.output("output", op.map("message", merged, message_of), KafkaSink([servers], output))
    return flow


def main() -> None:
    """Run it."""
    chosen = options()
    folder = chosen.folder / "recovery"
    folder.mkdir()
    init_db_dir(folder, 1)
    flow = flow_of(chosen.servers, chosen.source, chosen.output)
    cli_main(flow, epoch_interval=SNAPSHOTS, recovery_config=RecoveryConfig(str(folder)))


if __name__ == "__main__":
    main()
