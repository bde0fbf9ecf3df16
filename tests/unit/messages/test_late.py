"""Late records read back, whatever stands in them."""

from __future__ import annotations

import pytest

from app.messages.late import LateRecord, read_late


def test_a_late_record_is_read_whole() -> None:
    value = (
        b'{"batch_id": "b", "station_id": "A", "status": "failed", "error": "no", "reason": "batch-closed", '
        b'"revision": 2, "closed_at": 1.5, "timestamp": 3}'
    )
    assert read_late(b"b", value) == LateRecord("b", "A", "failed", "no", "batch-closed", 2, 1.5, 3)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"[]",
        b"\xff",
        b'{"batch_id": null, "station_id": null, "revision": true, "closed_at": "1", "timestamp": [2]}',
        b'{"revision": 1e999, "closed_at": 123456789012345678901234567890, "timestamp": -1e300}',
        b' {"revision": 123456789012345678901234567890}',
    ],
)
def test_what_a_message_does_not_tell_is_none(value: bytes | None) -> None:
    headers = [("station-id", b"A\xff"), ("reason", b"r")]
    assert read_late(b"k\xff", value, headers) == LateRecord("k�", "A�", None, "", "r", None, None, None)


def test_what_is_no_text_is_told_as_text() -> None:
    late = read_late(None, b' {"batch_id": 7, "station_id": {"a": 123456789012345678901234567890}}')
    assert (late.batch_id, late.station_id) == ("7", "{'a': 123456789012345678901234567890}")
