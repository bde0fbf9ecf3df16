"""`fast_dataclass`: for records that nobody changes and that are made by the thousand.

To type checkers it is `dataclasses.dataclass` itself: they see to it that nothing is assigned to a frozen record. At
run time such an assignment is not refused, because that costs too much. The `__init__` of a frozen dataclass sets every
field by a call of its own and takes three to four times as long as a plain one, which came to an eighth of a worker's
CPU. Equality, hash and slots are those of a frozen dataclass.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

__all__ = ["fast_dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass as fast_dataclass
else:

    def fast_dataclass(*, frozen: bool = False, **options: Any) -> Any:
        """`dataclasses.dataclass`, but a frozen class is only compared and hashed like one, and can be assigned to."""
        return dataclasses.dataclass(unsafe_hash=frozen and options.get("eq", True), **options)
