"""What `module_input` says to who asks for what is not in it."""

from __future__ import annotations

import pytest

from app.inputs.topic_columns import TopicColumns


def test_only_topics_that_lack_the_column_are_told_with_theirs() -> None:
    inputs = TopicColumns(T={"sendTime": [None], "load": [1]}, WEATHER={}, PRICE={"price": [0.5]})
    assert inputs.columns_without("load") == "module_input['WEATHER'] is empty, module_input['PRICE'] has 'price'"
    assert inputs.columns_without("soc") == (
        "module_input['T'] has 'sendTime', 'load', module_input['WEATHER'] is empty, module_input['PRICE'] has 'price'"
    )
    assert TopicColumns(T={"load": [1]}).columns_without("load") is None


def test_many_columns_and_long_names_are_cut_and_none_is_printed_raw() -> None:
    columns = {f"c{number}": [1] for number in range(20)}
    assert str(TopicColumns(T=columns).columns_without("soc")).endswith("'c18', 'c19'")
    assert str(TopicColumns(T=columns | {"d": [1], "e": [2]}).columns_without("soc")).endswith("'c18', 'c19', … +2")
    odd = TopicColumns({"T\n": {"x" * 61: [1], "a\nb\ud800": [1]}})
    assert odd.columns_without("soc") == f"module_input['T\\n'] has '{'x' * 60}…', 'a\\nb\\ud800'"


def test_the_text_of_a_topic_that_is_not_there_gets_nothing_added() -> None:
    inputs = TopicColumns(T={"sendTime": [None]}, WEATHER={})
    with pytest.raises(KeyError) as raised:
        inputs["U"]
    (text,) = raised.value.args
    assert text == "'U'; module_input has 'T', 'WEATHER'"
    assert inputs.columns_without(text) is None
