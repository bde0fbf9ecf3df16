"""Test a callback and a result handler without Kafka: the whole application in memory, with a clock that you move.

    from app.testing import TopologyTestDriver

    def test_a_silent_station_is_missing_at_the_deadline() -> None:
        async def model(station_id, module_input):
            if station_id == "B":
                await asyncio.sleep(60)
            return {"load": 1.0}

        with TopologyTestDriver(model, batch_timeout=5) as driver:
            driver.send([{"stationId": id, "sendTime": "2025-11-14 10:00:00"} for id in ("A", "B")])
            driver.advance(5.1)
            assert driver.outputs[0].value["stations"] == [{"station_id": "A", "load": 1.0}]
            assert driver.outputs[0].value["meta"]["missing"] == ["B"]

It is the code of the worker that runs here: splitter, callbacks, aggregator, result handler, outbox. Only what is
around it differs: topics are lists in memory, tables are dicts, and time is virtual. `asyncio.sleep`, timeouts,
deadlines and backoffs take no real time; they come when `advance` moves the clock past them. A `def` callback runs in a
real thread and is waited for while the clock stands still; `time.sleep` there is real.

What the callback or the result handler raises becomes dead letters, as in production; look at `driver.dead_letters`
when an output isn't what you expect. A bug in the application itself raises in `send` or `advance`.

The form is that of Kafka Streams' `TopologyTestDriver` (https://kafka.apache.org/documentation/streams/).
"""

from app.testing.driver import START_TIME, Message, TopologyTestDriver

__all__ = ["START_TIME", "Message", "TopologyTestDriver"]
