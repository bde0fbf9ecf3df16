"""What holds of the state machine for any log: compared with the model, cut anyhow, with anything repeated.

Logs are drawn from seeds, which is ten times faster than drawing each choice by Hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tables.model.enums import Code, LatePolicy
from tables.model.events import Arrived, Decision, Effect, Expire, Late, Open, Opened, Position
from tables.model.policies import Rules
from tables.storage.records import Destination, Prepared
from tests.batch_model import Model, draw_log, draw_rules, effect_tuples, first_outcomes, frames_of, is_unknown
from tests.builders import Entry, Owner, arrived, decisions, expire, of_type, open_, output_bytes
from tests.examples import examples

EXAMPLES = examples(800)
seeds = st.integers(0, 2**32 - 1).map(Random)


def run(log: Sequence[Entry], rules: Rules, random: Random | None = None) -> list[Effect]:
    """Apply a log in chunks, each frame one; or cut anyhow, and with decisions published early or late."""
    owner = Owner(rules=rules)
    effects: list[Effect] = []
    chunk: list[Entry] = []
    frames = frames_of(log)
    for index, frame in enumerate(frames):
        chunk += frame
        if random is None or index == len(frames) - 1 or random.random() < 0.4:
            made, writes = owner.apply(chunk)
            owner.store(writes)
            effects += made
            chunk = []
            if random is None or random.random() < 0.5:
                for batch, tracked in list(owner.set._tracked.items()):
                    for revision in list(tracked.undone):
                        owner.publish(batch, revision)
    return effects


def summary(decision: Decision) -> tuple[object, ...]:
    """A decision as the model writes it."""
    return (
        decision.completed_by.value,
        decision.status.value,
        decision.operator and (decision.operator.action.value, *decision.operator[1:]),
        decision.closed_at,
        decision.deadline,
        decision.results,
        decision.empty,
        decision.failed,
        decision.missing,
    )


@EXAMPLES
@given(seeds)
def test_the_state_machine_does_what_the_rules_say_however_the_log_is_cut(random: Random) -> None:
    log = draw_log(random)
    rules = draw_rules(random)
    model = Model(rules)
    for _, event in log:
        model.apply(event)
    effects = run(log, rules)
    decided: dict[str, list[tuple[object, ...]]] = {}
    for decision in decisions(effects):
        assert decision.revision == len(decided.setdefault(decision.batch_id, [])) + 1
        decided[decision.batch_id].append(summary(decision))
    assert decided == model.decisions
    assert len(decided) == len(of_type(Opened, effects)) == len(model.batches)
    told = [one for effect in effects for one in effect_tuples(effect)]
    assert sorted(map(repr, told)) == sorted(map(repr, model.effects))
    assert run(log, rules, random) == effects


@EXAMPLES
@given(seeds)
def test_every_event_again_at_any_later_place_changes_nothing(random: Random) -> None:
    frames = frames_of(draw_log(random, replays=False))
    rules = draw_rules(random, random.choice([LatePolicy.TOPIC, LatePolicy.DROP]))  # a revision is no repeat later on
    repeated: list[Entry] = []
    for index, frame in enumerate(frames):
        repeated += [(position._replace(offset=2 * index), event) for position, event in frame]
        again = random.choice(frames[: index + 1])
        repeated += [(position._replace(offset=2 * index + 1), event) for position, event in again]
    expected = [
        effect for effect in run([entry for frame in frames for entry in frame], rules) if not is_unknown(effect)
    ]
    assert [effect for effect in run(repeated, rules, random) if not is_unknown(effect)] == expected


@EXAMPLES
@given(seeds)
def test_each_outcome_ends_in_exactly_one_place(random: Random) -> None:
    log = draw_log(random, replays=False)
    effects = run(log, draw_rules(random, LatePolicy.TOPIC), random)
    by_batch = {decision.batch_id: decision for decision in decisions(effects)}
    late = [(effect.batch_id, effect.station, effect.value, effect.code) for effect in of_type(Late, effects)]
    outcomes = first_outcomes(log)
    for (batch_id, source, station), (code, value) in outcomes.items():
        decision = by_batch[batch_id]
        if code == Code.EMPTY:
            continue  # has no value to be known by; the model's test covers it
        in_decision = value in decision.results or (station, value) in decision.failed
        times = in_decision + late.count((batch_id, station, value, Code(code)))
        others = [key for key in outcomes if (key[0], key[2]) == (batch_id, station) and key[1] != source]
        assert times <= 1
        if not others:
            assert times == 1 or (code == Code.SKIPPED and station in decision.missing)
    for decision in by_batch.values():
        named = [*decision.missing, *decision.empty, *dict(decision.failed)]
        assert len(named) + len(decision.results) == len(decision.expected) == len(set(decision.expected))


@EXAMPLES
@given(seeds)
def test_any_order_of_arrivals_gives_the_same_lists(random: Random) -> None:
    """Two messages' opens, then their outcomes in any order and any bundles."""
    named = [random.sample("ABCDE", random.randint(1, 5)) for _ in range(2)]
    outcomes = [
        (message, station, random.choice("rrref"))
        for message, stations in enumerate(named)
        for station in random.sample(stations, random.randint(0, len(stations)))
    ]
    # Nothing may complete the batch before the last outcome: a third message's station never comes.
    opens: list[Open] = [open_(stations, message=message) for message, stations in enumerate([*named, ["Z"]])]
    seen: set[tuple[bytes, ...]] = set()
    for _ in range(4):
        random.shuffle(outcomes)
        events: list[Arrived] = [arrived([station], code, message=message) for message, station, code in outcomes]
        log: list[Open | Arrived | Expire] = [*opens, *events, expire(105)]
        (decision,) = decisions(run([(Position(i, 0), event) for i, event in enumerate(log)], Rules(), random))
        seen.add(tuple(output_bytes(decision)))
    assert len(seen) == 1


@EXAMPLES
@given(seeds)
def test_a_step_of_the_outbox_stores_the_same_after_a_recovery_as_before_it(random: Random) -> None:
    """The owner that decides encodes the decision, the one after a crash what it has read of it."""
    owner = Owner(rules=draw_rules(random))
    for frame in frames_of(draw_log(random)):
        effects, writes = owner.apply(frame)
        owner.store(writes)
        for decision in decisions(effects):
            place = decision.batch_id, decision.revision
            other = owner.restarted()
            if random.random() < 0.3:
                moved = owner.set.moved(*place, Destination("ELSEWHERE", 1))
                assert moved == other.set.moved(*place, Destination("ELSEWHERE", 1))
                owner.store(moved)
            if random.random() < 0.3:
                prepared = owner.set.prepared(*place, Prepared("answer"))
                assert prepared == owner.restarted().set.prepared(*place, Prepared("answer"))
                owner.store(prepared)
            other = owner.restarted()
            published = owner.set.published(*place)
            assert published == other.set.published(*place)
            owner.store(published)
