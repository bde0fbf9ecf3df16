"""What goes out."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator

from app.settings.functions import FunctionSettings
from app.settings.model import PREFIX, setting
from app.settings.types import Bytes, ModuleName, TopicName

__all__ = ["OutputSettings"]


class OutputSettings(FunctionSettings):
    """The output topic and its messages."""

    module: ModuleName = setting("load_prediction", "Name of the module in the output", "输出中的模块名")
    output_topic: TopicName = setting(
        lambda earlier: f"MODULE-OUTPUT-{earlier['module'].upper()}",
        "Output topic; default: `MODULE-OUTPUT-` and `AGG_MODULE` in upper case",
        "输出主题；默认为 `MODULE-OUTPUT-` 加大写的 `AGG_MODULE`",
    )
    output_meta: bool = setting(
        True,
        "Whether output messages carry `meta`; `false` for strict consumers",
        "输出消息是否带 `meta`；消费方要求严格时设为 `false`",
    )
    max_message_bytes: Bytes = setting(
        16 * 2**20, "Largest message; a larger output goes out in parts", "单条消息的最大字节数；更大的输出会分段发送"
    )

    @field_validator("output_topic")
    @classmethod
    def _output_is_no_source(cls, topic: str, info: ValidationInfo) -> str:
        for key in ("source_topics", "passthrough_topics"):
            if topic in info.data.get(key, ()):
                message = f"must not be one of {PREFIX}{key.upper()}: the application would read its own output"
                raise ValueError(message)
        return topic
