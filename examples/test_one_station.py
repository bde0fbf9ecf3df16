# test_one_station.py
"""A test of the application in one_station.py, without Kafka."""

from one_station import app

from app.testing import TopologyTestDriver

RECORD = {"stationId": "A", "sendTime": "2025-11-14 10:00:00", "outputPowerPerStationAvg": 30.5}


def test_a_station_has_its_load():
    """Send a message, and look at what comes out."""
    with TopologyTestDriver.of(app) as driver:
        driver.send([RECORD])
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "last_kw": 30.5, "mean_kw": 30.5}]
