"""What a callback gets for a station: the columns of each topic, by its name (CONTRACT 3)."""

from __future__ import annotations

from itertools import islice
from typing import Final, NoReturn

from app.inputs.layouts import Columns

_COLUMNS_SHOWN: Final = 20
_NAME_SHOWN: Final = 60  # characters of a column's name


class TopicColumns(dict[str, Columns]):
    """Topic -> columns. The topic of the station's message stands first, the context topics after it, as they are set.

    It is a dict but for one thing: the KeyError of a topic that is not in it says which ones are. A callback that was
    written for another source topic fails for all stations, and nothing else would say why.
    """

    __slots__ = ()

    def __missing__(self, topic: object) -> NoReturn:
        message = f"{topic!r}; {self._topics()}"
        raise KeyError(message)

    def columns_without(self, key: str) -> str | None:
        """Return the columns of each topic that has none of that name, as a text for who has asked for it.

        None where all topics have one, and where the key is the text of the KeyError of a topic, which says it all.
        """
        if key.endswith(f"; {self._topics()}"):
            return None
        lacking = [_columns_of(topic, columns) for topic, columns in self.items() if key not in columns]
        return ", ".join(lacking) or None

    def _topics(self) -> str:
        return f"module_input has {', '.join(map(repr, self))}"


def _columns_of(topic: str, columns: Columns) -> str:
    if not columns:
        return f"module_input[{topic!r}] is empty"
    shown = [
        repr(name if len(name) <= _NAME_SHOWN else name[:_NAME_SHOWN] + "…") for name in islice(columns, _COLUMNS_SHOWN)
    ]
    more = [f"… +{len(columns) - _COLUMNS_SHOWN}"] if len(columns) > _COLUMNS_SHOWN else []
    return f"module_input[{topic!r}] has {', '.join(shown + more)}"
