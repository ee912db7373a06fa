# SPDX-License-Identifier: Apache-2.0
"""Whom a task is for: found in the roster once, remembered as long as that may be, or refused."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput, BusUnreachable, UnknownAgent
from mcp_agentbus.handoff.dispatch import addressees
from mcp_agentbus.handoff.dispatch.addressees import Addressee, Addressees
from mcp_agentbus.handoff.views import own_agents
from mcp_agentbus.handoff.views.own_agents import known_here, of_this_user
from mcp_agentbus.store import roster
from mcp_agentbus.store.roster import Entry

CODER = Entry("coder", "live session", roles=("review",))
CLOSED = Entry("closed", "live session", accept_from=("planner",))
REVIEW = Entry("role-review", "live session")


class Roster:
    """A roster that notes for whom it was asked, and a clock."""

    def __init__(self):
        self.entries, self.asked, self.at = [CODER, CLOSED, REVIEW], [], 100.0

    async def look(self, _, inbox):
        self.asked.append(inbox)
        return next((each for each in self.entries if each.id == inbox), None)

    async def everybody(self, _):
        return [each for each in self.entries if not each.id.startswith("role-")]


@pytest.fixture
def known(monkeypatch):
    there = Roster()
    monkeypatch.setattr(roster, "look", there.look)
    monkeypatch.setattr(roster, "everybody", there.everybody)
    monkeypatch.setattr(addressees, "time", SimpleNamespace(monotonic=lambda: there.at))
    return there


@pytest.fixture
def met(known):
    """Whom a session of `planner` has met: nobody yet."""
    return Addressees(None, "planner")


async def test_who_takes_tasks_of_everybody_is_looked_up_once_and_others_each_time(known, met):
    addresses = ["coder", "role:review", "closed"]
    first, again = await met.find(addresses), await met.find(addresses)

    review = Addressee("role:review", "role-review", REVIEW)
    closed = Addressee("closed", "closed", CLOSED)
    assert first == [Addressee("coder", "coder", CODER), review, closed]
    assert again == [Addressee("coder", "coder"), Addressee("role:review", "role-review"), closed]
    assert known.asked == ["coder", "role-review", "closed", "closed"]


async def test_who_was_met_and_takes_tasks_of_some_alone_by_now_is_looked_up_again(known, met):
    [coder] = await met.find(["coder"]) and await met.find(["coder"])
    known.entries = [Entry("coder", "live session", accept_from=("closed",))]

    assert await met.entry(coder, "normal") == known.entries[0]
    [again] = await met.find(["coder"])
    assert again == Addressee("coder", "coder", known.entries[0])


async def test_who_was_met_and_is_registered_no_more_is_sent_nothing_after_the_next_look(
    known, met, monkeypatch
):
    async def away(*_):
        raise BusUnreachable

    [coder] = await met.find(["coder"]) and await met.find(["coder"])
    with monkeypatch.context() as broken:
        broken.setattr(roster, "look", away)
        await met.entry(coder, "normal")
    assert await met.find(["coder"]) == [coder]  # what cannot be read says nothing of it
    known.entries = [CLOSED]

    assert await met.entry(coder, "normal") is None
    with pytest.raises(UnknownAgent):
        await met.find(["coder"])


async def test_for_a_task_that_wakes_nobody_does_what_was_known_half_a_second_ago(known, met):
    coder = Addressee("coder", "coder")
    before = met.recent(coder, "normal")
    read = await met.entry(coder, "normal")
    known.at += 0.25
    soon, urgent = met.recent(coder, "normal"), met.recent(coder, "high")
    known.at += 0.25
    late = met.recent(coder, "normal")

    assert (before, read, soon, urgent, late) == (None, CODER, CODER, None, None)
    assert met.recent(Addressee("coder", "coder", CLOSED), "high") == CLOSED
    assert known.asked == ["coder"]


async def test_what_cannot_be_read_of_an_addressee_stops_no_task(known, met, monkeypatch):
    async def away(*_):
        raise BusUnreachable

    monkeypatch.setattr(roster, "look", away)
    assert await met.entry(Addressee("coder", "coder"), "normal") is None


async def test_all_are_those_who_were_there_in_the_last_30_days_but_for_the_sender(known, met):
    ago = [now() - timedelta(days=days) for days in (29, 31)]
    lately, long_ago = (
        Entry(name, "offline", seen) for name, seen in zip(("b", "c"), ago, strict=True)
    )
    known.entries = [CODER, lately, long_ago, Entry("planner", "live session")]

    assert await met.find(["all"]) == [
        Addressee("coder", "coder", CODER), Addressee("b", "b", lately)
    ]  # fmt: skip
    known.entries = [long_ago, Entry("planner", "live session")]
    with pytest.raises(UnknownAgent, match=r"^No other agent was there in the last 30 days\."):
        await met.find(["all"])


async def test_all_are_500_at_most(known, met):
    known.entries = [Entry(f"a{number}", "live session") for number in range(500)]

    assert len(await met.find(["all"])) == 500
    known.entries.append(CODER)
    with pytest.raises(BadInput, match=r"^'all' are 501 agents on this bus"):
        await met.find(["all"])


@pytest.mark.parametrize(
    ("address", "said", "nearest"),
    [
        ("coda", "No agent 'coda' is registered. Nothing was sent.", "Nearest: coder, closed. "),
        ("clad", "No agent 'clad' is registered. Nothing was sent.", "Nearest: closed, coder. "),
        ("xxxx", "No agent 'xxxx' is registered. Nothing was sent.", ""),
        (
            "broadcast",
            "No agent 'broadcast' is registered. Nothing was sent.",
            "Whoever was there of late is 'all'. ",
        ),
        (
            "role:revue",
            "No registered agent holds 'role:revue'. Nothing was sent.",
            "Nearest: role:review, coder. ",
        ),
    ],
)
async def test_a_name_that_nobody_has_is_refused_with_the_nearest(met, address, said, nearest):
    with pytest.raises(UnknownAgent) as refused:
        await met.find(["coder", address])

    assert (refused.value.message, refused.value.hint) == (said, nearest + UnknownAgent.hint)


def test_on_the_embedded_server_everybody_is_of_this_user_and_on_another_whom_it_has_here(
    monkeypatch, tmp_path
):
    book = SimpleNamespace(names={"coder": None})
    monkeypatch.setattr(own_agents.names, "read", lambda _: book)
    (tmp_path / "shell-planner.jsonl").touch()
    here = SimpleNamespace(url=None, agents={"tester": None}, state_dir=tmp_path)
    shared = SimpleNamespace(**vars(here) | {"url": "nats://bus:4222"})

    assert of_this_user(here) == ("*",)
    assert (
        sorted(of_this_user(shared)) == sorted(known_here(here)) == ["coder", "planner", "tester"]
    )
