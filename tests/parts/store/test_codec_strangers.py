# SPDX-License-Identifier: Apache-2.0
"""Bytes of newer writers, of careless ones, and of nobody who knows the format."""

import json

import corpus
import pytest
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from messages import (
    KINDS,
    READERS,
    RECORD,
    RECORD_SUBJECT,
    SEED_RESULT,
    SEED_TASK,
    SENT,
    SENT_SUBJECT,
    STORED_AT,
    TASK,
    TASK_SUBJECT,
    is_one_line,
    read_record,
    read_sent,
    read_task,
    record_again,
    sent_again,
    task_again,
    without,
)

from mcp_agentbus.core import ids
from mcp_agentbus.store import codec, subjects, task
from mcp_agentbus.store.codec import Undecodable

# Newer writers.


@pytest.mark.promise(17)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("urgent", "urgent"),
        ("HIGH", "HIGH"),
        ("x\ny", "x y"),
        ("x" * 41, "x" * 39 + "…"),
        (5, "5"),
        (["high"], '["high"]'),
        (True, "true"),
    ],
)
def test_an_unknown_priority_or_notify_is_shown_and_treated_as_the_default(value, shown):
    """In tasks and in both records; it survives being written again."""
    one = task_again(read_task(priority=value, notify=value))

    assert (one.priority, one.priority_given) == ("high", shown)
    assert (one.notify, one.notify_given) == ("live", shown)
    for record in (
        record_again(read_record(priority=value, notify=value)),
        sent_again(read_sent(priority=value, notify=value)),
    ):
        assert (record.priority, record.priority_given) == ("normal", shown)
        assert (record.notify, record.notify_given) == ("live", shown)


@pytest.mark.promise(17)
@pytest.mark.parametrize("field", ["state", "status"])
@pytest.mark.parametrize("value", ["paused", "COMPLETED", "x y", 5, {"a": 1}])
def test_an_unknown_state_or_status_is_shown_and_the_task_is_not_over(field, value):
    """A newer version's state is no end for all that we know."""
    fields = {**without(RECORD, "state"), field: value}
    one = codec.decode_record(RECORD_SUBJECT, strategies.spelt(fields))
    shown = value if isinstance(value, str) else json.dumps(value)

    assert (one.state, getattr(one, "state_given", None), one.ended) == ("working", shown, False)
    assert record_again(one) == one


def test_a_known_value_is_not_shown_twice():
    """And an absent one is the default."""
    one = read_task(priority="low", notify="wake")
    record = read_record(priority=None, state="failed")

    assert (one.priority, one.priority_given) == ("high", None)
    assert (one.notify, one.notify_given) == ("wake", None)
    assert (record.priority, record.priority_given, record.state_given) == ("normal", None, None)


def test_a_state_that_was_unknown_is_forgotten_once_the_record_goes_on():
    """What a newer version said before is not shown beside what was said since."""
    paused = read_record(state="paused")
    done = paused.model_copy(update={"state": "completed"})

    assert record_again(done).state_given is None


_unknown_fields = st.dictionaries(
    st.text(max_size=20) | st.sampled_from(["says", "ended", "model_config", "__class__", "_x"]),
    strategies.json_values,
    max_size=5,
)
_OURS = {
    *(name for kind in (task.Record, task.Sent) for name in kind.model_fields),
    *("v", "type", "id", "status", "result", "completed_at", "task"),
}


@pytest.mark.promise(17)
@given(_unknown_fields)
def test_unknown_fields_are_kept_when_a_record_is_read_and_written(unknown):
    """So that an older program in between loses nothing of a newer one's."""
    assume(not unknown.keys() & (_OURS | {"on"}))
    record = read_record(**unknown).model_copy(update={"attempts": 2})
    sent = read_sent(**unknown).model_copy(update={"seen_revision": 2})

    assert json.loads(codec.encode_record(record)).items() >= unknown.items()
    assert json.loads(codec.encode_sent(sent)).items() >= unknown.items()


@pytest.mark.promise(17)
@given(_unknown_fields)
def test_unknown_fields_of_a_task_change_nothing(unknown):
    """They stay in the stored bytes, which nobody rewrites."""
    known = {*TASK, *json.loads(codec.encode_task(read_task()))}
    assume(not unknown.keys() & (known | {"in_reply_to", "deliver_at"}))

    assert read_task(**without(unknown, "on", "headers")) == read_task()


@pytest.mark.promise(17)
def test_unknown_fields_inside_a_step_or_inside_the_task_are_kept_too():
    """Wherever a newer version puts them."""
    moment = {"state": "working", "at": "2026-05-18", "by": "coder", "cost": 3}
    again = json.loads(codec.encode_record(read_record(history=[moment], task={"colour": "blue"})))

    assert again["history"][0]["cost"] == 3
    assert again["task"]["colour"] == "blue"


@pytest.mark.promise(17)
@pytest.mark.parametrize("version", [0, 2, 99, "2.0", None])
def test_another_version_is_read_by_what_it_says(version):
    """The number alone is no reason to set a task aside."""
    assert read_task(v=version) == read_task()
    assert read_record(v=version) == read_record()


# What cannot be read.

NO_JSON = corpus.read("records", "no-json-").values()
NO_OBJECT = corpus.read("records", "no-object-").values()


@pytest.mark.promise(16)
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("several", "reason"), [(NO_JSON, "it is not JSON"), (NO_OBJECT, "it is not a JSON object")]
)
def test_bytes_that_are_no_json_object_are_undecodable(read, several, reason):
    """With the reason."""
    for data in several:
        with pytest.raises(Undecodable, match=f"^{reason}$"):
            read(data)


@pytest.mark.promise(16)
@pytest.mark.parametrize(("depth", "readable"), [(10, True), (30, True), (31, False), (400, False)])
def test_what_is_nested_too_deeply_is_undecodable(depth, readable):
    """What could be read but not written again must not be read."""
    deep = {"x": strategies.nested(depth)}
    for _, read in KINDS:
        if readable:
            assert read(**deep)
        else:
            with pytest.raises(Undecodable, match="nested too deeply"):
                read(**deep)
    if readable:
        assert json.loads(codec.encode_record(read_record(**deep)))["x"] == deep["x"]


@pytest.mark.promise(16)
@pytest.mark.parametrize(
    "payload", [None, "text", [], {}, {"content": None}, {"content": 7}, {"content": ["x"]}]
)
def test_a_task_without_a_body_is_undecodable(payload):
    """There is nothing to do."""
    with pytest.raises(Undecodable, match=r"no payload\.content text"):
        read_task(payload=payload)


@pytest.mark.promise(16)
@pytest.mark.parametrize("char", ["a", "é", "🚀"])
def test_a_task_with_an_oversize_body_is_undecodable(char):
    """One byte over the limit is; the limit itself is not."""
    full = char * (task.BODY_MAX_BYTES // len(char.encode()))

    assert read_task(payload={"content": full}).body == full
    with pytest.raises(Undecodable, match="its body is over 65,536 bytes"):
        read_task(payload={"content": full + "."})


@pytest.mark.promise(16)
@pytest.mark.parametrize("other", ["task.other", "TASK.REQUEST", None, 7, ["task.request"], ""])
@pytest.mark.parametrize(("kind", "read"), KINDS)
def test_a_message_of_another_type_is_undecodable(kind, read, other):
    """Each reader names the type that it reads."""
    with pytest.raises(Undecodable, match=f"^its type is not {kind['type']}$"):
        read(type=other)


@pytest.mark.parametrize("number", range(3))
def test_a_message_that_names_no_type_is_read_for_what_its_subject_says(number):
    """An old writer may leave the type out."""
    kind, read = KINDS[number]

    assert READERS[number](strategies.spelt(without(kind, "type"))) == read()


@pytest.mark.promise(16)
@pytest.mark.parametrize("field", ["state", "updated_at"])
def test_a_record_without_its_state_or_time_is_undecodable(field):
    """The reason names the field."""
    with pytest.raises(Undecodable, match=f"^it is no record: {field}$"):
        read_record(**{field: None})


@pytest.mark.promise(16)
@pytest.mark.parametrize("field", ["created_at", "expires_at"])
def test_a_senders_record_without_its_times_is_undecodable(field):
    """The reason names the field."""
    with pytest.raises(Undecodable, match=f"^it is no sender's record: {field}$"):
        read_sent(**{field: None})


def test_half_a_surrogate_pair_is_read_as_a_readable_escape():
    """A writer that cuts text at 16 bits is no reason to lose its task."""
    one = read_task(subject="\ud83d", payload={"content": "see \ud83d"})
    record = read_record(**{"x\udc00": "\ud800"})

    assert (one.subject, one.body) == ("\\ud83d", "see \\ud83d")
    assert json.loads(codec.encode_record(record))["x\\udc00"] == "\\ud800"


def test_numbers_that_json_cannot_hold_are_kept_as_text():
    """What this program writes is JSON, whatever it read."""
    data = b'{"state":"working","updated_at":"2026-05-18","x":[NaN,-Infinity,1e999]}'
    again = codec.encode_record(codec.decode_record(RECORD_SUBJECT, data))

    assert json.loads(again)["x"] == ["nan", "-inf", "inf"]


def test_what_json_cannot_hold_is_never_written():
    """A record that nobody could read would be lost."""
    with pytest.raises(ValueError, match="JSON compliant"):
        codec.encode_record(read_record().model_copy(update={"progress": float("nan")}))


_FIELDS = sorted(
    {name for kind in (task.Task, task.Record, task.Sent) for name in kind.model_fields}
    | {*SEED_TASK, *SEED_RESULT, "v", "notify_given", "state_given", "priority_given", "x"}
)
_any_subject = st.lists(strategies.hostile_texts | st.sampled_from("a*"), max_size=6).map(".".join)


def _near(subject, *kinds):
    """Return messages (bytes and subject) near well-formed ones, and some far from any."""
    fields = st.builds(
        lambda kind, changed, dropped: without({**kind, **changed}, *dropped),
        st.sampled_from(kinds),
        st.dictionaries(st.sampled_from(_FIELDS), strategies.hostile_values, max_size=5),
        st.sets(st.sampled_from(_FIELDS), max_size=1),
    )
    raw = fields.map(lambda one: json.dumps(one, ensure_ascii=False).encode(errors="replace"))
    data = fields.map(strategies.spelt) | raw
    far = st.binary() | strategies.hostile_values.map(strategies.spelt)
    role = subject.replace("coder", "role-x")
    return (
        st.tuples(data, st.sampled_from([subject, role]))
        | st.tuples(data, _any_subject)
        | st.tuples(far, st.just(subject))
    )


_any_headers = st.dictionaries(
    st.sampled_from(
        [subjects.H_TASK, subjects.H_THREAD, subjects.H_CHAIN, subjects.H_HOPS, subjects.H_SESSION]
    ),
    strategies.hostile_texts | st.sampled_from(["t1", "9" * 5000, "a,b", "\u0661"]),
)


def _check_record(one):
    """Assert what every reader of a record relies on."""
    assert ids.is_agent(one.owner)
    assert ids.is_inbox(one.inbox)
    assert ids.is_task_id(one.task_id)
    assert is_one_line(one.subject)
    assert len(one.subject) <= task.SUBJECT_MAX_CHARS
    for value in (one.thread_id, one.owner_session):
        assert value == "" or ids.is_label(value)
    state_given = one.state_given if isinstance(one, task.Record) else None
    for value in (state_given, one.priority_given, one.notify_given):
        assert value is None or is_one_line(value)


@pytest.mark.promise(16)
@settings(max_examples=400)
@given(_near(TASK_SUBJECT, TASK, SEED_TASK), _any_headers)
def test_any_message_is_a_task_or_undecodable(message, headers):
    """A task that can be shown and sent on, or a reason; never another exception."""
    data, subject = message
    try:
        one = codec.decode_task(subject, headers, data, STORED_AT)
    except Undecodable:
        return

    assert ids.is_agent(one.sender)
    assert ids.is_inbox(one.to)
    assert ids.is_task_id(one.id)
    assert one.subject
    assert is_one_line(one.subject)
    again = task_again(one)
    assert task_again(again) == again
    # Times are written to the millisecond, so the first writing may cut them.
    times = dict.fromkeys(("created_at", "expires_at", "deliver_at"))
    assert again.model_copy(update=times) == one.model_copy(update=times)


@pytest.mark.promise(16)
@settings(max_examples=400)
@given(_near(RECORD_SUBJECT, RECORD, SEED_RESULT))
def test_any_message_is_a_record_or_undecodable(message):
    """A record that can be written again as it was read, or a reason."""
    data, subject = message
    try:
        one = codec.decode_record(subject, data)
    except Undecodable:
        return

    _check_record(one)
    assert one.agent in {"", one.inbox} or ids.is_agent(one.agent)
    assert is_one_line(one.reason)
    assert all(is_one_line(step.by + step.state + step.reason) for step in one.history)
    assert record_again(one) == one


@pytest.mark.promise(16)
@settings(max_examples=400)
@given(_near(SENT_SUBJECT, SENT))
def test_any_message_is_a_senders_record_or_undecodable(message):
    """A record that can be written again as it was read, or a reason."""
    data, subject = message
    try:
        one = codec.decode_sent(subject, data)
    except Undecodable:
        return

    _check_record(one)
    assert sent_again(one) == one


@pytest.mark.promise(38)
@given(
    st.sampled_from([TASK, RECORD, SENT]),
    st.dictionaries(
        st.sampled_from(_FIELDS),
        st.sampled_from(["OBEY", ["OBEY"], {"OBEY": "OBEY"}, {"content": {"OBEY": 1}}]),
        min_size=1,
    ),
)
def test_a_reason_never_repeats_what_a_peer_wrote(kind, fields):
    """Reasons are shown outside of any frame."""
    data = strategies.spelt({**kind, **fields, "OBEY": "OBEY"})
    for read in READERS:
        reason = _reason(read, data)
        assert "OBEY" not in reason
        assert reason.isascii()
        assert is_one_line(reason)


def _reason(read, data):
    try:
        read(data)
    except Undecodable as error:
        return str(error)
    return ""
