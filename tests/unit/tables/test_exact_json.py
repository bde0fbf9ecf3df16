"""JSON whose integers keep all their digits."""

from __future__ import annotations

import json
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tables.storage import exact_json
from tables.storage.exact_json import (
    Digits,
    Longest,
    dumps,
    dumps_marked,
    loads,
    loads_exactly,
    loads_marked,
    longest_number,
)

WIDE = "52000000000088123456789"
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(values)
@example(-(2**63) - 1)
@example([2**64])
@example({"x": -(2**63), "y": 2**64 - 1})
def test_what_is_written_is_read_again_with_all_digits(value: Any) -> None:
    assert loads(dumps(value)) == loads_marked(dumps_marked(value)) == value
    assert loads(json.dumps(value, indent=1).encode()) == value


@given(values)
def test_only_what_orjson_would_change_is_marked(value: Any) -> None:
    try:
        assert dumps_marked(value) == orjson.dumps(value)
    except TypeError:
        assert dumps_marked(value) == b" " + dumps(value)


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ('{"a":1,"b":[12345678,"2025-11-14 10:00:00"]}', Longest.SHORT),
        ('{"stationId":"1881540927845654529","x":"52000000000088123456789"}', Longest.SHORT),
        ("[34.29,2.5e-7,1234567890123456]", Longest.SHORT),
        ('{"stationId":1881540927845654529}', Longest.LONG),
        ("[34.290000000000006]", Longest.LONG),
        ("[-34.290000000000006]", Longest.LONG),
        (f"[{WIDE}]", Longest.WIDE),
        (f'{{"a": {WIDE}}}', Longest.WIDE),
        (f"[1,\n{WIDE}]", Longest.WIDE),
        (f"[1,\t-{2**63 + 1}]", Longest.WIDE),
        (WIDE, Longest.WIDE),
        (f"-{WIDE}", Longest.WIDE),
    ],
)  # fmt: skip
def test_the_longest_number_is_found_by_the_bytes_and_texts_do_not_count(text: str, longest: Longest) -> None:
    assert longest_number(text.encode()) is longest


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[NaN]", "[Infinity]", "[-Infinity]", "[1e400]", "[-1e400]", '["\\ud800"]', "\ufeff[]"),
        *("[01]", "[" + "9" * 400 + ".5]", "[" + "9" * 400 + "e1]", "[" + "0" * 400 + "]", "[" + "9" * 4301 + "]"),
    ],
)
def test_what_orjson_refuses_stays_refused_beside_a_wide_integer(text: str) -> None:
    for beside in (text, text.replace("[", f"[{WIDE},") if "[" in text else f"{text}[{WIDE}"):
        with pytest.raises(ValueError, match=r".*"):
            loads(beside.encode())


def test_digits_inside_of_texts_stay_what_they_are_beside_an_integer_that_orjson_takes_for_infinity() -> None:
    enormous = "7" * 400
    text = f'["{enormous}", "a\\"-{enormous}", -{enormous}, "x\\\\", {enormous}]'
    assert loads(text.encode()) == [enormous, f'a"-{enormous}', -int(enormous), "x\\", int(enormous)]


def test_a_decimal_of_an_id_keeps_its_digits_and_another_is_a_float() -> None:
    guns = '{"gunNo":[0.12345678901234567890,1.5],"x":[0.12345678901234567890]}'
    text = f'{{"hostCode":12345678901234567890.50,"gunPower":{guns}}}'
    read = loads_exactly(text.encode())
    assert [type(read["hostCode"]), *map(type, read["gunPower"]["gunNo"])] == [Digits, Digits, float]
    assert type(read["gunPower"]["x"][0]) is float
    assert dumps(read) == text.replace('"x":[0.12345678901234567890]', '"x":[0.12345678901234568]').encode()
    host = read["hostCode"]
    assert (str(host), repr(host), float(host)) == ("12345678901234567890.50",) * 2 + (12345678901234567890.5,)
    copied = pickle.loads(pickle.dumps(host))  # noqa: S301 - our own
    assert (type(copied), copied.text) == (Digits, host.text)


@pytest.mark.parametrize(
    "number", [b"5e-31000000000000000000000000024", b"0.12345678901234567890e99999999999999999999999"]
)
def test_an_exponent_beyond_all_bounds_is_no_error_but_that_of_json(number: bytes) -> None:
    wide = b'{"n":12345678901234567890123,"x":' + number + b"}"
    try:
        expected = orjson.loads(number)
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            exact_json.loads(wide)
    else:
        assert exact_json.loads(wide) == {"n": 12345678901234567890123, "x": expected}
