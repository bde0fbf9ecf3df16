"""What a callback gets for a station: the columns of each topic, by its name (CONTRACT 3)."""

from __future__ import annotations

from typing import NoReturn

from app.inputs.layouts import Columns


class TopicColumns(dict[str, Columns]):
    """Topic -> columns. The topic of the station's message stands first, the context topics after it, as they are set.

    It is a dict but for one thing: the KeyError of a topic that is not in it says which ones are. A callback that was
    written for another source topic fails for all stations, and nothing else would say why.
    """

    __slots__ = ()

    def __missing__(self, topic: object) -> NoReturn:
        message = f"{topic!r}; module_input has {', '.join(map(repr, self))}"
        raise KeyError(message)
