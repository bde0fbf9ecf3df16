"""What comes in, and what the callback gets of it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pydantic import ValidationInfo, field_validator

from app.settings.enums import Fill
from app.settings.model import GivenSettings, setting
from app.settings.types import Names, OptionalCount, OptionalTopicNames, OptionalWholeSeconds, TopicNames

__all__ = ["InputSettings"]


class InputSettings(GivenSettings):
    """Source topics and how their records become columns."""

    source_topics: TopicNames = setting(
        ("SCHEDULE-STATION-REALTIME-DATA",), "Source topics, comma-separated", "源主题，逗号分隔"
    )
    envelope_keys: Names = setting(
        (),
        "More keys under which a source message may hold its records, comma-separated; tried after the topic's name "
        "and `realTimeData`",
        "源消息中存放记录的其他键，逗号分隔；在主题名和 `realTimeData` 之后尝试",
    )
    timezone: ZoneInfo = setting(
        ZoneInfo("Asia/Shanghai"),
        "Time zone of times that come without one, and of `sendTime` in `module_input`",
        "未带时区的时间及 `module_input` 中 `sendTime` 的时区",
    )
    passthrough_topics: OptionalTopicNames = setting(
        (),
        "Topics whose stations are answered one by one, without batches, comma-separated",
        "逐个场站直接处理、不组成批次的主题，逗号分隔",
    )
    context_topics: OptionalTopicNames = setting(
        (),
        "Topics whose newest record of each station is a further entry of `module_input`, comma-separated",
        "上下文主题：每个场站的最新记录作为 `module_input` 的附加项，逗号分隔",
    )

    fill: Fill = setting(Fill.ZERO, "What stands where no record gave a value", "没有记录给出数值处的填充方式")
    window_step: OptionalWholeSeconds = setting(
        None,
        "Step of the time window: missing time points are inserted back from the latest one, by itself to the earliest",
        "时间窗口的步长：从最新的时间点往前补上缺失的时间点；单独设置时补到最早的一个",
    )
    window_size: OptionalCount = setting(
        None,
        "How many time points the window has, from the latest back; needs `AGG_WINDOW_STEP`",
        "窗口的时间点数，从最新的往前数；需要 `AGG_WINDOW_STEP`",
    )

    @field_validator("context_topics")
    @classmethod
    def _context_is_nothing_else(cls, topics: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for key in ("source_topics", "passthrough_topics"):
            if both := set(topics).intersection(info.data.get(key, ())):
                message = f"must not name a topic that AGG_{key.upper()} names: {min(both)}"
                raise ValueError(message)
        return topics

    @field_validator("window_size")
    @classmethod
    def _window_needs_a_step(cls, size: int | None, info: ValidationInfo) -> int | None:
        if size is not None and info.data.get("window_step", ...) is None:
            message = "must not be given without AGG_WINDOW_STEP"
            raise ValueError(message)
        return size

    @property
    def batch_topics(self) -> list[str]:
        """Whose messages become batches. A topic that is listed as both source and pass-through is pass-through."""
        return [topic for topic in dict.fromkeys(self.source_topics) if topic not in self.passthrough_topics]

    @property
    def foreign_topics(self) -> list[str]:
        """What is read and belongs to others: never created by a worker, and it may have gaps."""
        return list(dict.fromkeys((*self.batch_topics, *self.passthrough_topics, *self.context_topics)))
