"""The form of a callback's input (`AGG_INPUT`): lists, or numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from app.inputs.alignment import Alignment, align
from app.inputs.window_alignment import align_window
from app.settings.enums import InputForm
from tables.storage.window import Content


class Aligner(NamedTuple):
    """What makes columns.

    Attributes:
        records: of records, as `app.inputs.alignment.align` does.
        window: of a window, as `app.inputs.window_alignment.align_window` does.
    """

    records: Callable[..., dict[str, Any]]
    window: Callable[[Content, Alignment], dict[str, Any]]


LISTS: Final = Aligner(align, align_window)


def aligner_of(form: InputForm) -> Aligner:
    """Return what makes columns of this form. numpy is imported where it is asked for, and nowhere else."""
    if form is InputForm.LISTS:
        return LISTS
    from app.inputs.arrays import ArrayMaker  # noqa: PLC0415 - it may not be installed

    maker = ArrayMaker()
    return Aligner(maker.align, maker.align_window)
