# SPDX-License-Identifier: Apache-2.0
"""What a session was told: each thing once, remembered by the next listener, and bounded."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest

from mcp_agentbus.core.notices import Counts
from mcp_agentbus.listener.memory import Memory, News, Told
from mcp_agentbus.wakes.backlog import UnofferedLane
from mcp_agentbus.wakes.facts import Waiting


def _high(number):
    key = f"task coder t{number}"
    return Waiting(key, "task", f"t{number}", "planner", "planner", "coder")


def _result(number):
    key = f"result r{number} 7"
    return Waiting(key, "result", f"r{number}", "coder", "planner", "coder")


def test_a_session_is_told_of_each_thing_once():
    told = Told()

    assert told.by_hook((_high(1), _result(1)), ()) == Counts(high=1, results=1)
    assert told.by_hook((_high(1), _result(1)), ()) == Counts()
    assert told.by_hook((_high(1), _high(2)), ()) == Counts(high=1)
    assert told.by_hook((_high(1), _result(1)), ()) == Counts()


def test_what_goes_on_waiting_is_remembered_however_much_comes_and_goes():
    told = Told()
    told.by_hook((_high(0),), ())

    for number in range(1, 2000):
        told.by_hook((_high(0), _high(number)), ())

    assert told.by_hook((_high(0),), ()) == Counts()
    assert len(told.keys) <= 501


def test_a_lane_is_told_again_only_for_a_later_task_or_when_it_was_made_anew():
    told = Told()
    first = UnofferedLane("coder_normal", "monday", last=7, new=3)

    assert told.by_hook((), (first,)) == Counts(others=3)
    assert told.by_hook((), (first,)) == Counts()
    assert told.by_hook((), (UnofferedLane("coder_normal", "monday", last=6, new=1),)) == Counts()
    assert told.by_hook((), (UnofferedLane("coder_normal", "monday", last=9, new=2),)) == Counts(
        others=2
    )
    assert told.by_hook((), (UnofferedLane("coder_normal", "tuesday", last=1, new=1),)) == Counts(
        others=1
    )


def test_what_a_hook_has_told_stands_for_the_notice_of_one_wake():
    told = Told()
    told.by_hook((_high(1), _high(2), _result(1)), ())
    one, two, result, three = (t.key for t in (_high(1), _high(2), _result(1), _high(3)))

    assert not told.counts_for_wake({one, three})  # of one it was not told
    assert not told.counts_for_wake(set())
    assert told.counts_for_wake({one, result})
    assert not told.counts_for_wake({one, two})
    assert told.counts_for_wake({two})
    told.by_hook((_high(1), _high(2)), ())
    assert not told.counts_for_wake({one})


def test_what_a_notice_has_told_no_hook_tells_and_the_next_wake_does():
    told = Told()
    told.by_hook((_high(1), _high(2)), ())

    told.by_notice([_high(1), _high(3)])

    assert not told.counts_for_wake({_high(1).key})
    assert not told.counts_for_wake({_high(3).key})
    assert told.counts_for_wake({_high(2).key})
    assert told.by_hook((_high(1), _high(2), _high(3)), ()) == Counts()


def test_what_waits_no_more_stands_for_no_notice():
    told = Told()
    told.by_hook((_high(1),), ())
    told.by_hook((_high(2),), ())

    assert told.uncounted == [_high(2).key]


LANE = UnofferedLane("coder_normal", "monday", last=7, new=3)
ALL = Counts(high=2, others=3)


@pytest.mark.parametrize(
    ("noticed", "under_way", "urgent", "answered", "news"),
    [
        # Nothing but hooks has told it anything.
        (False, [], False, False, News(ALL, is_known=False)),
        (False, [1], False, False, News(Counts(high=1, others=3), is_known=False)),
        (False, [1, 2], False, False, News(Counts(others=3), is_known=False)),
        # One at the end of a turn is asked about high tasks and results only.
        (False, [], True, False, News(Counts(high=2), is_known=False)),
        (False, [1, 2], True, False, News(Counts(), is_known=False)),
        # The tool's own answer has just told all that waits.
        (False, [], False, True, News(ALL, is_known=True)),
        (False, [1], False, True, News(Counts(high=1, others=3), is_known=True)),
        # A notice has: for as long as what it told waits, it is the last word on the lanes.
        (True, [1], False, False, News(Counts(high=1, others=3), is_known=True)),
        (True, [], False, False, News(ALL, is_known=False)),
        (True, [1], True, False, News(Counts(high=1), is_known=False)),
    ],
)
def test_a_hook_tells_what_no_other_channel_has(noticed, under_way, urgent, answered, news):
    told = Told(noticed=noticed)

    found = told.for_hook(
        (_high(1), _high(2)),
        () if urgent else (LANE,),
        under_way={_high(number).key for number in under_way},
        urgent=urgent,
        answered=answered,
    )

    assert found == news
    assert told.noticed == (noticed and urgent)
    assert told.seen(LANE.name, LANE.made) == (0 if urgent else LANE.last)
    assert told.counts_for_wake({_high(1).key}) == (1 not in under_way)


def test_a_notice_silences_one_hook_only():
    told = Told(noticed=True)
    given = {"under_way": {_high(1).key}, "urgent": False, "answered": False}
    told.for_hook((_high(1),), (LANE,), **given)

    later = told.for_hook((_high(1),), (replace(LANE, last=9, new=2),), **given)

    assert later == News(Counts(others=2), is_known=False)


def test_the_next_listener_knows_what_was_told(tmp_path):
    memory = Memory(tmp_path / "told.json")
    memory.of("cursor c1").by_hook(
        (_high(1),), (UnofferedLane("coder_low", "monday", last=7, new=1),)
    )
    memory.save()

    next_one = Memory(tmp_path / "told.json")
    assert next_one.counts_for_wake(["cursor c1"], {_high(1).key})
    assert not next_one.counts_for_wake(["cursor c2"], {_high(1).key})
    again = Memory(tmp_path / "told.json").of("cursor c1")

    assert not again.counts_for_wake({_high(1).key})
    assert (
        again.by_hook((_high(1),), (UnofferedLane("coder_low", "monday", last=7, new=1),))
        == Counts()
    )
    assert stat.S_IMODE((tmp_path / "told.json").stat().st_mode) == 0o600


def test_what_the_first_version_has_written_can_be_read(tmp_path):
    file = tmp_path / "told.json"
    key = _high(1).key
    marks = {"coder_low": ["monday", 7]}
    file.write_text(json.dumps({"cursor c1": {"keys": [key], "marks": marks, "fresh": [key]}}))
    file.chmod(0o600)

    told = Memory(file).of("cursor c1")

    assert told.seen("coder_low", "monday") == 7
    assert told.by_hook((_high(1),), ()) == Counts()
    assert told.counts_for_wake({key})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 10**5,
        "null",
        '{"s":{}}',
        '{"s":[1]}',
        '{"s":{"keys":3,"marks":{},"fresh":[]}}',
        '{"s":{"keys":[],"marks":{}}}',
    ],
)
def test_a_memory_that_cannot_be_read_is_empty(tmp_path, content):
    file = tmp_path / "told.json"
    file.write_text(content)
    file.chmod(0o600)

    assert Memory(file).of("s") == Told()


def test_a_memory_that_others_can_write_is_not_believed(tmp_path):
    memory = Memory(tmp_path / "told.json")
    memory.of("s").by_hook((_high(1),), ())
    memory.save()
    (tmp_path / "told.json").chmod(0o666)

    assert Memory(tmp_path / "told.json").of("s") == Told()


def test_a_memory_that_cannot_be_written_holds_for_this_listener(tmp_path):
    memory = Memory(tmp_path / "nowhere" / "told.json")
    memory.of("s").by_hook((_high(1),), ())
    memory.save()

    assert memory.of("s").by_hook((_high(1),), ()) == Counts()


def test_memory_is_bounded_and_forgets_the_session_that_asked_least_lately(tmp_path):
    memory = Memory(tmp_path / "told.json")
    for number in range(1000):
        memory.of("kept")
        memory.of(f"s{number}").by_hook(tuple(_high(thing) for thing in range(20)), ())
    memory.of("kept").by_hook(tuple(_high(thing) for thing in range(2000)), ())
    memory.save()

    kept = json.loads((tmp_path / "told.json").read_text())
    assert len(kept) == 200
    assert {"kept", "s999"} <= set(kept)
    assert len(kept["kept"]["keys"]) == 2000
    memory.of("kept").by_hook((), ())
    assert len(memory.of("kept").keys) == 500
