# SPDX-License-Identifier: Apache-2.0
"""Names: nothing that could widen or split a subject ever becomes part of one."""

import re

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.core import ids
from mcp_agentbus.errors import BadInput
from mcp_agentbus.store import subjects

# Text that is nearly a name, so that both answers happen often.
nearly = st.text("ab9_-.:*> A\n\t\0é²\uff41", max_size=8) | strategies.hostile_texts
CHECKS = {
    "agent_id": ids.agent_id,
    "role_name": ids.role_name,
    "inbox_of": ids.inbox_of,
    "task_id": ids.task_id,
    "label": lambda value: ids.label(value, "thread id"),
}

NO_AGENTS = [
    "",
    "-a",
    "_a",
    "A",
    "Coder",
    "a.b",
    "a*",
    "*",
    ">",
    "a>",
    "a b",
    " a",
    "a ",
    "a\n",
    "a\r",
    "a\0",
    "a:b",
    "a/b",
    "é",
    "\uff41",  # fullwidth a
    "\u0661",  # Arabic-Indic 1
    "²",
    "a\u200b",
    "\ud800",
    "a" * 64,
]


def _accepts(check, value):
    try:
        return check(value) == value or check is ids.inbox_of
    except BadInput:
        return False


@pytest.mark.parametrize("value", ["a", "0", "coder", "shop-claude", "a_b-c", "a" * 63, "rolex"])
def test_an_agent_id_is_returned_as_it_is(value):
    """Lower case letters, digits, '_' and '-', 1 to 63 of them."""
    assert ids.agent_id(value) == value
    assert ids.is_agent(value)
    assert ids.is_inbox(value)


@pytest.mark.promise(38)
@pytest.mark.promise(5)
@pytest.mark.parametrize("value", NO_AGENTS)
def test_what_breaks_the_rule_names_no_agent_and_no_inbox(value):
    """Refused when it is written, refused when it is read."""
    with pytest.raises(BadInput, match="is not an agent id"):
        ids.agent_id(value)

    assert not ids.is_agent(value)
    assert not ids.is_inbox(value)


@pytest.mark.promise(38)
@pytest.mark.parametrize("value", ["all", "system", "role-", "role-review", "role-role-x"])
def test_reserved_names_are_nobodys_id(value):
    """Nobody can pose as everybody, as the system or as a role."""
    with pytest.raises(BadInput, match="is reserved"):
        ids.agent_id(value)

    assert not ids.is_agent(value)


@pytest.mark.promise(38)
@pytest.mark.parametrize(
    "token", ["all", "system", "role-", "role--x", "role-_x", "role-" + "a" * 59]
)
def test_what_no_address_leads_to_is_no_inbox(token):
    """Reading is as strict as writing."""
    assert not ids.is_inbox(token)


@pytest.mark.parametrize("value", ["review", "a", "0-", "role-x", "all", "a" * 58])
def test_a_role_has_an_inbox_of_its_own(value):
    """`role:NAME` is the inbox `role-NAME`."""
    assert ids.role_address(value) == f"role:{value}"
    assert ids.is_role_address(f"role:{value}")
    assert ids.is_role(value)
    assert ids.inbox_of(f"role:{value}") == f"role-{value}"
    assert ids.is_inbox(f"role-{value}")


@pytest.mark.parametrize("value", ["", "-x", "_x", "A", "a.b", "*", ">", "a b", "a\n", "a" * 59])
def test_what_breaks_the_rule_names_no_role(value):
    """The inbox of a role keeps the rule of all inboxes."""
    with pytest.raises(BadInput, match="is not a role name"):
        ids.role_name(value)
    with pytest.raises(BadInput):
        ids.inbox_of(f"role:{value}")

    assert not ids.is_role(value)
    assert not ids.is_inbox(f"role-{value}")


@pytest.mark.parametrize("value", [None, 7, ["review"], b"review"])
def test_what_is_no_text_read_from_the_wire_names_no_role(value):
    assert not ids.is_role(value)


@pytest.mark.parametrize("address", ["coder", "role-review", "", "all", "*", "Role:review"])
def test_other_addresses_are_not_written_as_a_role_is(address):
    assert not ids.is_role_address(address)


@given(strategies.inboxes)
def test_an_inbox_is_found_again_from_its_address(inbox):
    """`inbox_of` undoes `address_of`."""
    assert ids.inbox_of(ids.address_of(inbox)) == inbox


@given(strategies.agent_ids | strategies.roles.map("role:".__add__))
def test_an_address_is_found_again_from_its_inbox(address):
    """`address_of` undoes `inbox_of`."""
    assert ids.address_of(ids.inbox_of(address)) == address


@pytest.mark.promise(38)
@given(nearly | strategies.inboxes)
def test_a_token_is_an_inbox_exactly_if_its_address_may_be_written(token):
    """The check on reading and the check on writing agree."""
    written = _accepts(ids.inbox_of, ids.address_of(token)) and ":" not in token

    assert ids.is_inbox(token) == written


@pytest.mark.promise(38)
@given(nearly | strategies.agent_ids)
def test_a_token_is_an_agent_exactly_if_it_may_be_written_as_one(token):
    """The check on reading and the check on writing agree."""
    assert ids.is_agent(token) == _accepts(ids.agent_id, token)


@pytest.mark.parametrize("value", ["a", "task-20260518-0001", "A_b-9", "f" * 64])
def test_ids_of_other_producers_are_task_ids(value):
    """Wider than the ids that are made here."""
    assert ids.task_id(value) == value
    assert ids.is_task_id(value)


@pytest.mark.promise(38)
@pytest.mark.promise(5)
@pytest.mark.parametrize(
    "value", ["", "-a", "_a", "a.b", "a:b", "*", ">", "a b", "a\n", "é", "\ud800", "f" * 65]
)
def test_what_cannot_be_one_token_is_no_task_id(value):
    """A task id is the last token of subjects."""
    with pytest.raises(BadInput, match="is not a task id"):
        ids.task_id(value)

    assert not ids.is_task_id(value)


@pytest.mark.parametrize("value", ["a", "review.pr:2_b-c", "9", "a" * 128])
def test_labels_may_have_dots_and_colons(value):
    """Thread ids, task types and request ids are never part of a subject."""
    assert ids.label(value, "thread id") == value
    assert ids.is_label(value)


@pytest.mark.promise(38)
@pytest.mark.parametrize(
    "value", ["", ".a", ":a", "a b", "a\n", "a\r\nNats-Msg-Id: x", "a,b", "é", "a" * 129]
)
def test_what_could_split_a_header_is_no_label(value):
    """Labels become header values; the refusal says what was refused."""
    with pytest.raises(BadInput, match="is not a request id"):
        ids.label(value, "request id")

    assert not ids.is_label(value)


@pytest.mark.promise(38)
@pytest.mark.parametrize("check", CHECKS)
@given(value=nearly)
def test_nothing_with_a_wildcard_a_space_or_a_control_character_passes(check, value):
    """Whatever a check lets through is plain, and all but labels are one token."""
    try:
        passed = CHECKS[check](value)
    except BadInput:
        return

    assert re.fullmatch(r"[A-Za-z0-9._:-]+", passed)
    assert not set("*> \t\r\n") & set(passed)
    assert check == "label" or "." not in passed


@pytest.mark.parametrize("check", CHECKS)
@given(value=strategies.hostile_texts.map("*".__add__))
def test_a_refusal_repeats_a_bad_name_on_one_line(check, value):
    """Nothing in it moves the cursor or starts a line."""
    with pytest.raises(BadInput) as refused:
        CHECKS[check](value)

    assert str(refused.value).isprintable()


@given(strategies.inboxes, strategies.agent_ids, strategies.task_ids, st.sampled_from(ids.LANES))
def test_checked_names_make_subjects_of_the_stated_length(inbox, agent, task, lane):
    """No checked name adds a token or a wildcard to a subject."""
    lengths = {
        subjects.task_subject(inbox, lane, agent): 5,
        subjects.record_subject(agent, inbox, task): 5,
        subjects.sent_subject(agent, inbox, task): 5,
        subjects.dead_subject(inbox, lane, agent): 5,
        subjects.due_subject(inbox, lane, agent): 5,
        subjects.scheduled_subject(inbox, lane, agent, task): 6,
        subjects.heartbeat_subject(agent, "9f3c2a"): 4,
        subjects.profile_subject(agent): 3,
    }

    assert {subject: len(subject.split(".")) for subject in lengths} == lengths
    assert not set("*> ") & set("".join(lengths))
    assert subjects.wake_subject(inbox, lane).split(".")[-1:] == ["*"]


@given(strategies.inboxes, strategies.agent_ids, strategies.task_ids, st.sampled_from(ids.LANES))
def test_a_subject_is_taken_apart_as_it_was_made(inbox, agent, task, lane):
    """What is no subject of ours has no parts, and is no error."""
    assert subjects.parts(subjects.task_subject(inbox, lane, agent)) == (
        inbox,
        "tasks",
        (lane, agent),
    )
    assert subjects.parts(subjects.record_subject(agent, inbox, task)).rest == (inbox, task)
    assert subjects.parts(subjects.profile_subject(agent)) == (agent, "profile", ())
    assert subjects.parts("agentbus.x") == subjects.parts("") == ("", "", ())


@given(strategies.inboxes, st.sampled_from(ids.LANES))
def test_consumers_are_one_token(inbox, lane):
    """The server takes no dot in the name of a consumer."""
    made = [subjects.lane_consumer(inbox, lane), subjects.results_consumer(inbox)]

    assert all(
        re.fullmatch(r"[a-z0-9_-]+", name) for name in [*made, subjects.sent_consumer(inbox)]
    )


def test_every_session_id_is_new_and_a_label():
    """64 random bits in hex, which may stand in a header and in a subject."""
    sessions = {ids.new_session_id() for _ in range(1000)}

    assert len(sessions) == 1000
    assert all(ids.is_label(session) and ids.is_task_id(session) for session in sessions)


def test_the_lanes_are_read_in_this_order():
    """High before normal before low."""
    assert ids.LANES == ("high", "normal", "low")
