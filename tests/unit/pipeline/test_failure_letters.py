"""Letters of stations that have failed without having been run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import orjson

from app.messages.message import InMessage
from app.pipeline.failure_letters import SourceLetters
from tables.model.events import FailedStation, SkippedFailed, Source

ERROR = "the deadline had passed before the callback started"
SOURCE = Source("T", 1, 7)


def skipped(station: str, source: Source = SOURCE) -> SkippedFailed:
    return SkippedFailed("b", source, station, 105.0, ERROR, "trace")


def letters(failed: Sequence[SkippedFailed], there: Mapping[Source, bytes]) -> list[FailedStation]:
    asked: list[Source] = []

    async def find(sources: Sequence[Source]) -> dict[Source, InMessage]:
        asked.extend(sources)
        return {one: InMessage(*one, 100.0, b"key", there[one]) for one in sources if one in there}

    made = SourceLetters(find, envelope_keys=(), timezone=ZoneInfo("Asia/Shanghai"))
    done = asyncio.run(made.of(failed))
    assert len(asked) == len(set(asked))
    return done


def test_a_letter_has_the_stations_records_and_the_key_of_its_source_message() -> None:
    records = [{"stationId": station, "sendTime": 1763085600 + hour} for station in "AB" for hour in (0, 3600)]
    first, second = letters([skipped("B"), skipped("A")], {SOURCE: orjson.dumps({"realTimeData": records})})
    assert (first.station, first.source, first.at, first.trace) == ("B", SOURCE, 105.0, "trace")
    assert orjson.loads(first.letter.value) == {"T": records[2:]}
    assert orjson.loads(second.letter.value) == {"T": records[:2]}
    assert (first.letter.key, first.letter.error) == (b"key", ERROR)


def test_a_station_whose_message_is_gone_has_a_letter_that_says_so() -> None:
    gone, unreadable = Source("T", 0, 1), Source("T", 0, 2)
    for source in (gone, unreadable):
        (failed,) = letters([skipped("A", source)], {unreadable: b"not JSON"})
        assert failed.letter.value == '{"T":[]}'
        assert failed.letter.error == f"{ERROR}\nits source message can't be read any more"
