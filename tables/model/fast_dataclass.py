"""Dataclasses that nobody changes, for records that are made by the thousand.

To type checkers this is `dataclasses.dataclass` itself, and they see to it that nothing is assigned to a frozen one. At
run time such an assignment is not refused, because that costs too much: the `__init__` of a frozen dataclass sets every
field by a call of its own, and takes three to four times as long as a plain one, which came to an eighth of a worker's
CPU. Equality, hash and slots are those of a frozen one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, **options: Any) -> Any:
        """`dataclasses.dataclass`, but what is called frozen is only compared and hashed like one that is."""
        return dataclasses.dataclass(unsafe_hash=frozen and options.get("eq", True), **options)
