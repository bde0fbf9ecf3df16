"""What is fetched of a partition travels in pieces of bounded size, without losing or turning round a message."""

from __future__ import annotations

from aiokafka.structs import ConsumerRecord

from app.kafka.pieces import LEAST_BYTES, PIECE_BYTES, PIECE_MESSAGES, in_message, pieces_of, weight_of
from app.messages.message import InMessage


def record(offset: int, value: bytes | None = b"{}") -> ConsumerRecord:
    headers = (("batch-id", b"b"),)
    return ConsumerRecord("topic", 3, offset, 1762218000_500, 0, b"key", value, None, 3, len(value or b""), headers)


def test_pieces_hold_every_record_once_in_order() -> None:
    records = [record(offset) for offset in range(2 * PIECE_MESSAGES + 1)]
    pieces = pieces_of(records)
    assert [len(piece) for piece in pieces] == [PIECE_MESSAGES, PIECE_MESSAGES, 1]
    assert [one for piece in pieces for one in piece] == records


def test_a_piece_ends_when_it_has_enough_bytes_and_a_larger_message_is_not_cut() -> None:
    sizes = (1, PIECE_BYTES + 1, 1, PIECE_BYTES - 1, 1)
    pieces = pieces_of([record(offset, b"x" * size) for offset, size in enumerate(sizes)])
    assert [[one.offset for one in piece] for piece in pieces] == [[0, 1], [2, 3], [4]]


def test_nothing_fetched_is_no_piece() -> None:
    assert pieces_of([]) == []


def test_a_small_message_counts_for_the_room_that_it_takes() -> None:
    assert weight_of(record(0, None)) == weight_of(record(0)) == LEAST_BYTES
    assert weight_of(record(0, b"x" * 10_000)) == 10_000


def test_a_record_becomes_a_message_with_its_time_in_seconds() -> None:
    assert in_message(record(7, None)) == InMessage("topic", 3, 7, 1762218000.5, b"key", None, (("batch-id", b"b"),))
