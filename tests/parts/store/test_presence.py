# SPDX-License-Identifier: Apache-2.0
"""Who is there, by what an agent has registered, and by the signs of life that the server has."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from messages import read_record
from server_stand_in import NOON, Server
from strategies import spelt

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import Holds, Reason
from mcp_agentbus.store import codec, roster
from mcp_agentbus.store.roster import Entry, Profile
from mcp_agentbus.store.task import CLAIM_MAX_S

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
ME = Agent("coder", host="cursor", description="Codes", roles=("dev",), accept_from=("ann",))
PROFILE = Profile(
    id="coder", description="Codes", roles=("dev",), hosts=("cursor",), accept_from=("ann",),
    account="", registered_at=NOON - HOUR, last_seen=NOON - HOUR,
)  # fmt: skip
ENTRY = Entry(
    "coder", "offline", NOON - HOUR, NOON - HOUR, ("cursor",), ("dev",), "Codes",
    accept_from=("ann",),
)  # fmt: skip
HOLDS = Holds.of({"held": Reason.PROFILE, "wake_on": ["high"]})
# How long before noon each was made and first written; by it the server has heard from everybody.
LONG_AGO = {"made": HOUR, "agents": HOUR, "first": None}


def registered(profile=PROFILE, seq=1):
    data = profile.model_dump_json().encode()
    return Found(f"agentbus.{profile.id}.profile", seq, NOON, {}, data)


def sign(agent="coder", session="5e55", kind="session", **said):
    data = spelt({"kind": kind, **said})
    return Found(f"agentbus.{agent}.heartbeat.{session}", 1, NOON, {}, data)


def bus(*messages, made=HOUR, agents=HOUR, first=None, url=None):
    """Return one on which lies what was said, in streams that were made so long before noon."""
    profiles = [each for each in messages if each.subject.endswith(".profile")]
    state = {"last_seq": len(profiles), "messages": len(profiles)}
    if first is not None:
        state["first_ts"] = text.stamp(NOON - first)
    server = Server(
        messages=messages,
        infos={
            "AGENTBUS_PRESENCE": {"created": text.stamp(NOON - made)},
            "AGENTBUS_AGENTS": {"created": text.stamp(NOON - agents), "state": state},
        },
    )
    server.settings.url = url
    return server


NEWLY = {"made": 5 * SECOND, "agents": HOUR}  # started anew


@pytest.mark.parametrize(
    ("old", "me", "now", "profile"),
    [
        (None, ME, NOON, {"registered_at": NOON, "last_seen": NOON}),
        (PROFILE, ME, NOON, {"last_seen": NOON}),
        (
            PROFILE, replace(ME, description="", roles=(), host="mcp", accept_from=("bob",)), None,
            {"hosts": ("cursor", "mcp"), "accept_from": ("bob",)},
        ),
        (PROFILE, replace(ME, description="x" * 300), None, {"description": "x" * 300}),
        (PROFILE, replace(ME, roles=("qa",)), None, {"roles": ("qa",)}),
        (
            PROFILE.model_copy(update={"hosts": tuple("abcdefgh")}), ME, None,
            {"hosts": (*"bcdefgh", "cursor")},
        ),
    ],
)  # fmt: skip
async def test_a_registration_says_what_is_new_and_what_was_there(old, me, now, profile):
    server = bus(*([registered(old)] if old else []))

    await roster.register(server, me, now)

    stored = await roster.registration(server, "coder")
    assert stored == PROFILE.model_copy(update=profile)


async def test_what_its_user_has_taken_out_of_its_settings_is_said_of_it_no_more():
    server = bus(registered())

    await roster.register(server, replace(ME, description="", roles=(), set_up=True), NOON)

    stored = await roster.registration(server, "coder")
    assert (stored.description, stored.roles) == ("", ())


async def test_an_agent_without_a_session_is_registered_and_was_never_seen():
    server, before = bus(), text.now()

    await roster.register(server, replace(ME, description="", roles=()), None)

    stored = Profile.model_validate_json(server.messages[0].data)
    assert before <= stored.registered_at <= text.now()
    fields = {"description": "", "roles": (), "last_seen": None}
    fields["registered_at"] = stored.registered_at
    assert stored == PROFILE.model_copy(update=fields)


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (NOON, NOON, True),
        (NOON, NOON + 29 * SECOND, True),
        (NOON, NOON + 30 * SECOND, False),
        (NOON, NOON - SECOND, False),  # its clock was set back
        (NOON, None, True),
        (None, None, True),
    ],
)
def test_a_registration_says_when_it_was_seen_to_half_a_minute(before, now, says):
    old = PROFILE.model_copy(update={"last_seen": before})

    assert roster._says(old, PROFILE.model_copy(update={"last_seen": now})) is says
    changed = PROFILE.model_copy(update={"last_seen": now, "description": "Tests"})
    assert not roster._says(old, changed)


async def test_a_registration_that_says_it_already_is_not_written_again():
    server = bus(registered())
    await roster.register(server, ME, NOON - HOUR)
    assert server.done == []

    await roster.register(server, replace(ME, description="Tests"), NOON - HOUR)
    assert server.done == [("AGENTBUS_AGENTS", "agentbus.coder.profile", 1)]


@pytest.mark.parametrize("flags", [{}, {"leaving": True}, {"gone": True}])
async def test_a_session_says_that_it_lives_and_whether_it_leaves_or_was_killed(flags):
    server = bus()
    await roster.beat(server, ME, "5e55", **flags)

    [(subject, data, headers)] = server.done
    assert (subject, headers) == ("agentbus.coder.heartbeat.5e55", {})
    said = {"kind": "session", "host": "cursor", "leaving": False, "gone": False, **flags}
    assert json.loads(data) == said


async def test_a_listener_says_why_it_would_hold_a_wake_and_that_it_leaves():
    server = bus()
    await roster.beat_for(server, "coder", "l1", HOLDS)
    await roster.beat_for(server, "coder", "l1", None)

    said = [(subject, json.loads(data)) for subject, data, _ in server.done]
    assert said == [
        ("agentbus.coder.heartbeat.l1", {"kind": "listener", "leaving": False, **HOLDS.said()}),
        ("agentbus.coder.heartbeat.l1", {"kind": "listener", "leaving": True}),
    ]


async def test_those_are_registered_whose_registration_has_a_name():
    no_ones = replace(registered(seq=2), subject="agentbus.No.profile")

    assert await roster.registered(bus(registered(), no_ones)) == {"coder"}


LISTENER = sign(session="l1", kind="listener", **HOLDS.said())
OLD_SIGN = replace(sign(), stored_at=NOON - 2 * SECOND)


@pytest.mark.parametrize(
    ("signs", "fields"),
    [
        ([], {}),
        ([sign(host="mcp")], {"state": "live session", "last_seen": NOON}),
        ([OLD_SIGN], {"state": "live session", "last_seen": NOON - 2 * SECOND}),
        ([LISTENER], {"state": "listening", "holds": (HOLDS,)}),
        ([LISTENER, sign()], {"state": "live session", "last_seen": NOON, "holds": (HOLDS,)}),
        ([sign(gone=True)], {}),
        ([sign(gone=True), LISTENER], {"state": "listening", "holds": (HOLDS,)}),
        ([sign(leaving=True)], {}),
    ],
)
async def test_what_is_known_of_an_agent_is_its_registration_and_its_signs_of_life(signs, fields):
    entry = replace(ENTRY, **fields)

    seen = await roster.look(bus(registered(), *signs), "coder")
    assert seen == entry
    assert seen.registered_at == NOON - HOUR
    assert await roster.everybody(bus(registered(), *signs)) == [entry]


async def test_what_is_known_has_whose_it_is_and_one_that_never_was_there_was_never_seen():
    profile = PROFILE.model_copy(update={"account": "ann", "last_seen": None})

    seen = await roster.look(bus(registered(profile)), "coder")
    assert seen == replace(ENTRY, state="never seen", last_seen=None, account="ann")


async def test_one_that_has_called_nothing_yet_is_there_while_its_session_lives():
    hosts = [sign(host="mcp"), sign(session="2", host="cursor"), sign(session="3", host="mcp")]
    hosts.append(sign(session="4"))
    new = Entry("coder", "live session", NOON, hosts=("mcp", "cursor"))
    before = text.now()

    seen = await roster.look(bus(*hosts), "coder")
    assert seen == new
    assert before <= seen.registered_at <= text.now()
    assert await roster.everybody(bus(*hosts)) == [new]


@pytest.mark.parametrize("signs", [[], [LISTENER]])
async def test_nobody_is_there_who_neither_has_registered_nor_has_a_session(signs):
    assert await roster.look(bus(*signs), "coder") is None
    assert await roster.everybody(bus(*signs)) == []


async def test_all_are_seen_by_id_and_of_a_doctor_only_while_it_is_at_work():
    others = [
        registered(PROFILE.model_copy(update={"id": name}), seq)
        for seq, name in enumerate(("zoe", "coder", f"{ids.PROBE}1", f"{ids.PROBE}2"), 1)
    ]
    at_work = sign(f"{ids.PROBE}2")

    seen = [entry.id for entry in await roster.everybody(bus(*others, at_work, sign("ann")))]
    assert seen == sorted(["ann", "coder", "zoe", f"{ids.PROBE}2"])


async def test_a_role_is_known_as_long_as_somebody_holds_it():
    server = bus(registered(), sign())

    role = await roster.look(server, "role-dev")
    assert role == replace(Entry("role-dev", "live session", NOON), accept_from=role.accept_from)
    assert set(role.accept_from) == {"coder", "ann"}
    assert await roster.look(server, "role-qa") is None


async def test_of_a_server_that_was_started_anew_nobody_is_sure_to_be_away():
    unknown = replace(ENTRY, state="not known")
    assert await roster.look(bus(registered(), **NEWLY), "coder") == unknown
    assert await roster.everybody(bus(registered(), **NEWLY)) == [unknown]

    here = replace(ENTRY, state="live session", last_seen=NOON)
    assert await roster.look(bus(registered(), sign(), **NEWLY), "coder") == here
    assert await roster.everybody(bus(registered(), sign(), **NEWLY)) == [here]
    assert await roster.look(bus(**NEWLY), "coder") is None


async def test_whether_a_server_has_heard_from_everybody_is_asked_anew_if_it_was_started_meanwhile(
    monkeypatch,
):
    server, told = bus(registered()), [True, False]

    async def forgotten(asked):
        asked.connections = 2
        return told.pop()

    monkeypatch.setattr(roster, "_has_forgotten", forgotten)
    assert await roster.everybody(server) == [replace(ENTRY, state="not known")]
    assert told == []


async def test_sessions_live_that_gave_a_sign_and_may_live_where_nobody_knows():
    signs = [sign(session="1"), sign(session="2", gone=True), LISTENER]
    assert await roster.live_sessions(bus(*signs), "coder") == {"1", "2"}
    assert await roster.live_sessions(bus(*signs), "coder", killed=False) == {"1"}
    for killed in (True, False):
        assert await roster.may_live(bus(*signs), "coder", "2", killed=killed) is killed
    assert not await roster.may_live(bus(*signs), "coder", "l1")
    assert await roster.may_live(bus(*signs, **NEWLY), "coder", "l1")


@pytest.mark.parametrize(
    ("times", "has_forgotten"),
    [
        (LONG_AGO, False),
        ({"made": 15 * SECOND}, False),
        ({"made": 14.9 * SECOND}, True),
        ({"made": 5 * SECOND, "agents": 6.1 * SECOND}, True),
        ({"made": 5 * SECOND, "agents": 6 * SECOND}, False),  # as a new bus is
        ({"made": 5 * SECOND, "agents": 5.5 * SECOND, "first": 5.2 * SECOND}, True),
        ({"made": 5 * SECOND, "agents": 5.5 * SECOND, "first": 4 * SECOND}, False),
    ],
)
async def test_a_server_has_forgotten_whose_signs_of_life_are_newer_than_what_is_registered(
    times, has_forgotten
):
    assert await roster._has_forgotten(bus(**times)) is has_forgotten


@pytest.mark.parametrize(
    ("led", "made", "has_forgotten"),
    [
        (14.9 * SECOND, HOUR, True),
        (15 * SECOND, HOUR, False),
        (14 * SECOND, 29 * SECOND, True),
        (14 * SECOND, 28.9 * SECOND, False),  # three that begin are not at once agreed
    ],
)
async def test_so_have_several_servers_that_were_all_restarted_for_which_it_is_as_it_was_made(
    led, made, has_forgotten
):
    server = bus(made=made, agents=made)
    server.infos["AGENTBUS_PRESENCE"]["cluster"] = {"leader_since": text.stamp(NOON - led)}

    assert await roster._has_forgotten(server) is has_forgotten


async def test_a_server_without_signs_of_life_has_forgotten_and_any_other_refusal_is_told():
    server = bus()
    server.infos["AGENTBUS_PRESENCE"] = ApiError(NO_SUCH_STREAM)
    assert await roster._has_forgotten(server)

    server.infos["AGENTBUS_PRESENCE"] = ApiError(NO_SUCH_STREAM + 1)
    with pytest.raises(ApiError):
        await roster._has_forgotten(server)


async def test_a_server_that_is_alone_is_asked_once_a_connection_and_one_of_several_each_time():
    alone, of_several = bus(), bus(url="tls://a.example.org")
    for server in (alone, of_several):
        await roster._has_forgotten(server)
        server.asked.clear()
        assert not await roster._has_forgotten(server)

    assert alone.asked == []
    assert "STREAM.INFO.AGENTBUS_PRESENCE" in of_several.asked
    alone.connections = 2
    await roster._has_forgotten(alone)
    assert "STREAM.INFO.AGENTBUS_PRESENCE" in alone.asked


LEASE = timedelta(seconds=CLAIM_MAX_S)


@pytest.mark.parametrize(
    ("stored_at", "updated_at", "may_hold"),
    [
        (NOON - LEASE, NOON, False),
        (NOON - LEASE + SECOND, NOON - 2 * LEASE, True),  # its own clock is off
        (None, NOON - LEASE, False),
        (None, NOON - LEASE + SECOND, True),
    ],
)
async def test_a_shell_holds_a_task_for_a_time_by_the_servers_clock(
    stored_at, updated_at, may_hold
):
    record = read_record(session=f"{ids.SHELL_PREFIX}1", updated_at=text.stamp(updated_at))
    subject = "agentbus.planner.results.coder.t1"
    there = [Found(subject, 1, stored_at, {}, codec.encode_record(record))] if stored_at else []

    assert roster.is_lease(record)
    assert await roster.may_hold(bus(*there), record) is may_hold


async def test_a_session_holds_a_task_as_long_as_it_lives():
    record = read_record(session="5e55")

    assert not roster.is_lease(record)
    assert await roster.may_hold(bus(sign()), record)
    assert not await roster.may_hold(bus(sign(session="2"), sign("other")), record)
    assert await roster.may_hold(bus(**NEWLY), record)


QUIET = Holds(everybodys=Reason.PROFILE, senders={"ann": ""}, wake_on=("high",))
STRANGE = Holds(everybodys="a newer reason", wake_on=("high", "normal"))


@pytest.mark.parametrize(
    ("holds", "sender", "priority", "why"),
    [
        ((), "bob", "high", None),
        ((QUIET,), "bob", "high", Reason.PROFILE.why),
        ((QUIET,), "bob", "normal", None),
        ((QUIET,), "ann", "high", ""),
        ((STRANGE,), "bob", "normal", "its listener holds wakes"),
        ((QUIET, Holds()), "bob", "high", ""),
        ((QUIET, STRANGE), "bob", "normal", "its listener holds wakes"),
    ],
)
def test_a_wake_is_held_if_every_listener_that_is_asked_holds_it(holds, sender, priority, why):
    assert Entry("coder", "listening", holds=holds).held_for(sender, priority) == why


@pytest.mark.parametrize(
    ("holds", "priority", "wakes"),
    [
        ((), "high", True),
        ((), "normal", False),
        ((STRANGE,), "normal", True),
        ((QUIET,), "normal", False),
        ((QUIET, STRANGE), "normal", True),
        ((STRANGE,), "low", False),
    ],
)
def test_an_agent_wakes_on_what_one_of_its_listeners_wakes_it_on(holds, priority, wakes):
    assert Entry("coder", "listening", holds=holds).wakes_on(priority) is wakes
