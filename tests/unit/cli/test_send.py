"""What `faust -A app send` says of a line that is no message, without a broker."""

from __future__ import annotations

import click
import pytest

from app.cli.base import speak
from app.cli.send import LineSender
from app.settings import Settings
from app.settings.enums import Language


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (Language.EN, "line 3: not sent: not JSON: unexpected end of data: line 1 column 3 (char 2)\n"),
        (Language.ZH, "第 3 行：未发送：不是 JSON：第 3 个字符处有误\n"),
    ],
)
def test_a_line_that_is_no_message_is_named_in_one_language(
    language: Language, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = LineSender(Settings(), "T", None, (), unchecked=False)
    with click.Context(click.Command("send")) as context:
        speak(context, language)
        assert list(sender._good(iter([(3, b"[1"), (4, b"[]")]))) == [(4, b"[]")]
    assert capsys.readouterr().err == said
    assert sender.failed == 1
