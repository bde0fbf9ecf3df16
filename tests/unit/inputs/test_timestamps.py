"""Times of records: every accepted form, and nothing else."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs.timestamps import format_time, parse_time, read_moment, record_moment

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
NINE = 1_762_218_000  # 2025-11-04 09:00:00 in Shanghai, 01:00:00 UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2025-11-04 09:00:00", NINE),
        (" 2025-11-04 09:00:00\n", NINE),
        ("2025-11-04T09:00:00", NINE),
        ("2025-11-04 09:00", NINE),
        ("2025-11-04T01:00:00Z", NINE),
        ("2025-11-04T01:00:00+00:00", NINE),
        ("2025-11-04T04:00:00+0300", NINE),
        ("2025-11-03 20:00:00-05:00", NINE),
        ("20251104T090000", NINE),
        ("20251104T010000Z", NINE),
        ("2025-W45-2T09:00:00", NINE),
        ("2025-308T09:00:00", NINE),
        ("2025308 09:00", NINE),
        ("2025-11-04T09:00:00+08:00:00", NINE),
        ("20251104T090000+080000", NINE),
        ("2025-11-03T20:00:00\u22125:00", NINE),
        ("2025-11-04", NINE - 9 * 3600),
        *((f"2025-11-03{end}", NINE - 9 * 3600) for end in (" 24:00:00", "T24:00", "T24:00:00.000", "T24:00:00+08:00")),
        ("20251103T24", NINE - 9 * 3600),
        ("2024-12-31 24:00:00", 1_735_660_800),
        ("2025-11-04 09:00:00.250", NINE + 0.25),
        ("2025-11-04T01:00:00,250Z", NINE + 0.25),
        (NINE, NINE),
        (NINE + 0.5, NINE + 0.5),
        (NINE * 1000, NINE),
        (NINE * 1000 + 250, NINE + 0.25),
        (NINE * 1000.0, NINE),
        (str(NINE), NINE),
        *((f"{NINE}{mark}25", NINE + 0.25) for mark in ".,"),
        (f"{NINE}.", NINE),
        (str(NINE * 1000), NINE),
        (f" {NINE * 1000 + 250} ", NINE + 0.25),
        *((f"2025{mark}11{mark}04{time}", NINE) for mark in "-/" for time in (" 09:00:00", " 9:00", "T09:00:00+08:00")),
        *((f"2025{mark}11{mark}4 9:00:00", NINE) for mark in "-/"),
        ("2025/11/04", NINE - 9 * 3600),
        *(("2025-11-04" + time, NINE) for time in ("t01:00:00z", "T01:00z", " 09:00:00 +08:00", "T09:00:00 +0800")),
        *(("2025-11-04" + time, NINE) for time in (" 01:00:00 Z", "T09+08", "  09:00:00", " 9:0" + "0", "T090000")),
        *(("2025-11-04" + time, NINE + 60) for time in (" 09:00:60", "T01:00:60Z", "T09:00:60.000")),
        ("2024-12-31T23:59:60Z", 1_735_689_600),
        *((f"2025.11.04{time}", NINE) for time in (" 09:00:00", " 9:00", "T09:00:00+08:00", " 09:00:00.000")),
        ("2025.11.4 9:00:00", NINE),
        ("2025.11.04", NINE - 9 * 3600),
        *((f"2025-11-04 01:00:00{zone}", NINE) for zone in (" UTC", " GMT", "UTC", ".000 UTC", " utc", " +0", "-0")),
        *((f"2025-11-04T09:00:00{zone}", NINE) for zone in ("+8:00", "+8", " +8", " +8:00")),
        *(("2025-11-03T20:30:00-4:30", NINE), ("2025/11/04 01:00 GMT", NINE), ("20251104T010000 UTC", NINE)),
        *((form, NINE) for number in (20251104090000, 202511040900) for form in (number, str(number), float(number))),
        *((form, NINE - 9 * 3600) for form in (20251104, "20251104", 20251104.0, 20251103240000, " 20251104 ")),
        *((form, NINE + 0.25) for form in (20251104090000.25, "20251104090000,25", "20251104090000250")),
        (20251104090000250, NINE + 0.25),
        ("20251104090060", NINE + 60),
        *((form, NINE) for unit in (10**6, 10**9) for form in (NINE * unit, float(NINE * unit), str(NINE * unit))),
        (NINE * 10**6 + 250_000, NINE + 0.25),
        (f"{NINE * 10**9 + 250_000_000}", NINE + 0.25),
        (2_025_111_410, 2_025_111_410),  # hours without minutes are no compact form
        (978_307_200, 978_307_200),
        (4_102_444_799_999, 4_102_444_799.999),
    ],
)
def test_every_accepted_form_gives_unix_seconds(value: object, seconds: float) -> None:
    assert parse_time(value, SHANGHAI) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, [], {}, [NINE], b"2025-11-04 09:00:00"),
        *("", " ", "now", "None", "nan", "inf", "-1", "1_762_218_000", "1e9", "٢٠٢٥", "0x1F"),
        *("2025-11-04x09:00:00", "2025-11/04 09:00:00", "2025-13-04 09:00:00", "2025-02-29 09:00:00"),
        *("2025-11-04 25:00:00", "2025-11-04T09:00:00+99:00", "09:00:00", "2025-11-04 09:00:00 junk"),
        *("0001-01-01 00:00:00", "9999-12-31T23:59:59-23:59", "9" * 17, "1" * 100_000),
        "2025-11-04 09:00:00".ljust(65),
        *(-1, -0.5, math.nan, math.inf, -math.inf, 10**13, 1e13, 10**400, 5 * 10**18, "5" + "0" * 18),
        *(0, "0", 1.0, 2025, "2025", 202511, 99_999_999_999, 10**11, 900_000_000, 5 * 10**9, 20251131, "20251131"),
        *(20251104250000, "20251104096000", 20251104240001, "20251104T240001", "2025-11-04 09:00:61"),
        *("2025-00-04 09:00:00", "2025/11/31", "04/11/2025", "11/04/2025 09:00", "2025-11-04T09:00:00 08:00"),
        *("12.5", "2025.5", "2025.11", "2025.1104", 12.5, 2025.5, 2025.11, "2025.11-04", "2025.11/04", "2025-11.04"),
        *("2025.11.04.09", "25.11.04", "04.11.2025", "2025.13.04", "2025.11.", "2025.11.04 09.00.00", "1.2.3"),
        *("2025-11-04 09:00:00+800", "2025-11-04 09:00:00 CET", "2025-11-04 09:00:00 UT", "2025-11-04 UTC"),
        *(
            "2025-11-04 09:00:00+",
            "2025-11-04 09:00:00+8:0",
            "2025-11-04 09:00:00  UTC",
            "UTC",
            "2025-11-04 09:00 UTCZ",
        ),
        *("２０２５-11-04 09:00:00", "2025-11-04T09:00:00+0860", "2025-W54-1", "2025-11-04 09:00:00 +08:00 x"),
    ],
)
def test_what_is_no_time_is_not_usable(value: object) -> None:
    assert parse_time(value, SHANGHAI) is None


def test_a_text_without_an_offset_is_in_the_given_timezone() -> None:
    assert parse_time("2025-11-04 09:00:00", SHANGHAI) == NINE
    assert parse_time("2025-11-04 09:00:00", ZoneInfo("UTC")) == NINE + 8 * 3600
    assert parse_time("2025-11-04T09:00:00Z", SHANGHAI) == NINE + 8 * 3600


def test_the_text_of_a_moment_is_in_the_timezone_with_the_fraction_cut_off() -> None:
    nanoseconds = NINE * 10**9 + 999_999_999
    for value in (NINE + 0.999, NINE * 1000 + 999, nanoseconds, str(nanoseconds), "20251104090000.99999999999999999"):
        assert parse_time(value, SHANGHAI) == pytest.approx(NINE + 0.999, abs=0.001)
    for value in (
        "2025-11-04 09:00:00.99999999999999999999",
        "2025-11-04T01:00:00.999999Z",
        "2025-11-03T20:00:00.9-05:00",
    ):
        moment = read_moment(value, SHANGHAI)
        assert moment is not None
        assert moment.text == "2025-11-04 09:00:00"


def test_years_before_1000_keep_their_zeros() -> None:
    assert format_time(-62_000_000_000, ZoneInfo("UTC")) == "0005-04-19 09:46:40"


def test_a_time_that_the_clock_skips_is_written_as_the_clock_shows_it() -> None:
    moment = read_moment("2025-03-09 02:30:00", NEW_YORK)
    assert moment == (1_741_505_400, "2025-03-09 03:30:00")


# Clocks that are set by an hour, by half of one, across midnight and by a whole day, and old local times with seconds.
CHANGES = [
    ("America/New_York", "2025-03-09 02"),
    ("America/New_York", "2025-11-02 01"),
    ("Australia/Lord_Howe", "2025-04-06 01"),
    ("Australia/Lord_Howe", "2025-10-05 02"),
    ("America/Sao_Paulo", "2018-11-04 00"),
    ("Pacific/Apia", "2011-12-30 12"),
    ("Asia/Shanghai", "1901-01-01 00"),
    ("Asia/Shanghai", "1986-05-04 02"),
    ("Asia/Kathmandu", "1986-01-01 00"),
]


@pytest.mark.parametrize(("zone", "around"), CHANGES)
def test_a_text_is_read_as_its_zone_has_it_also_where_the_clock_is_set(zone: str, around: str) -> None:
    timezone, middle = ZoneInfo(zone), datetime.fromisoformat(f"{around}:00:00")
    for seconds in range(-3 * 3600, 4 * 3600, 113):
        local = middle + timedelta(seconds=seconds)
        moment = read_moment(local.isoformat(sep=" "), timezone)
        assert moment is not None
        assert moment.seconds == local.replace(tzinfo=timezone).timestamp()
        assert moment.text == format_time(math.floor(moment.seconds), timezone)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2025-02-30 09:00:00",
            "2025-11-04 24:00:01",
            "2025-11-04 24:30:00",
            "2025-11-04T24:01",
            "2025-02-30 24:00:00",
        ),
        *("2025-11-04 09:60:00", "0000-01-01 00:00:00"),
    ],
)
def test_a_text_of_no_time_that_there_is_is_not_usable(text: str) -> None:
    assert read_moment(text, SHANGHAI) is None


def test_the_first_usable_key_of_a_record_counts() -> None:
    record = {"timestamp": NINE + 2, "send_time": NINE + 1, "sendTime": NINE}
    assert record_moment(record, SHANGHAI) == (NINE, "2025-11-04 09:00:00")
    assert record_moment({**record, "sendTime": "soon"}, SHANGHAI) == (NINE + 1, "2025-11-04 09:00:01")
    assert record_moment({**record, "sendTime": None, "send_time": True}, SHANGHAI) == (NINE + 2, "2025-11-04 09:00:02")
    assert record_moment({"time": NINE}, SHANGHAI) is None


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.sampled_from([SHANGHAI, NEW_YORK]))  # noqa: DTZ001
def test_reading_the_text_of_a_moment_gives_that_text_again(local: datetime, timezone: ZoneInfo) -> None:
    first = read_moment(local.isoformat(), timezone)
    assert first is not None
    second = read_moment(first.text, timezone)
    assert second is not None
    assert second.text == first.text


@given(st.integers(978_307_200, 4_102_444_799))
def test_all_forms_of_one_instant_are_the_same_time(seconds: int) -> None:
    utc = datetime.fromtimestamp(seconds, UTC)
    numbers = [seconds * unit for unit in (1, 10**3, 10**6, 10**9)]
    forms: list[Any] = [*numbers, *map(float, numbers), *map(str, numbers)]
    forms += [utc.isoformat(sep=" ").replace("+", " +"), utc.isoformat().replace("+00:00", "z").lower()]
    forms += [utc.isoformat(), utc.isoformat().replace("+00:00", "Z"), utc.astimezone(SHANGHAI).isoformat()]
    forms += [utc.isoformat(sep=" ").replace("+00:00", zone) for zone in (" UTC", " GMT", "+0", "-0:00")]
    local = format_time(seconds, SHANGHAI)
    compact = re.sub("[^0-9]", "", local)
    forms += [local, local.replace("-", "/"), local.replace("-", "."), compact, int(compact), float(compact)]
    assert {parse_time(form, SHANGHAI) for form in forms} == {seconds}


@given(
    st.one_of(
        st.text(), st.integers(), st.floats(), st.binary(), st.booleans(), st.from_regex(r"\A[0-9T:.Z+ W-]{1,40}\Z")
    )
)
def test_reading_a_time_never_raises(value: object) -> None:
    seconds = parse_time(value, NEW_YORK)
    assert seconds is None or math.isfinite(seconds)
