"""A callback that has asked for a column that is not there: its error says which there are.

Columns are plain dicts, as who gets most of them needs nothing else. So what there is is found out when it is too late:
the input is made once more, for a station that has failed with the KeyError of a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.callbacks.outcome import ERROR_CHARACTERS, KeyMissed, Outcome, end_of
from app.inputs.topic_columns import TopicColumns
from tables.model.enums import Code


def with_columns(outcome: Outcome, module_input: Callable[[], dict[str, Any]]) -> Outcome:
    """Return a failure with what columns there are, where it comes of a key that is none of them; else what is given.

    Args:
        outcome: of a function that got a `module_input`.
        module_input: makes that once more.
    """
    if type(outcome) is not KeyMissed or outcome.value is None:
        return outcome
    try:
        made = module_input()
        there = made.columns_without(outcome.key) if isinstance(made, TopicColumns) else None
    except Exception:  # noqa: BLE001 - the failure is told as it is: what is known may have changed since
        there = None
    if there is None:
        return outcome
    traceback = outcome.traceback and end_of(f"{outcome.traceback.rstrip()}; {there}\n")
    return Outcome(Code.FAILED, f"{outcome.value}; {there}"[:ERROR_CHARACTERS], traceback)
