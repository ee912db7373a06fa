# SPDX-License-Identifier: Apache-2.0
"""What a look into the inboxes shows, in which order, and where the next one goes on."""

from types import SimpleNamespace

import pytest
from planners_task import TASK
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.views import glances
from mcp_agentbus.handoff.views.glances import Glance, peek
from mcp_agentbus.store import codec
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.read_back import Seen
from mcp_agentbus.store.steps import first_record, sent_of, step

TASKS = "AGENTBUS_TASKS"
LANES = [
    f"agentbus.{inbox}.tasks.{lane}.*"
    for lane in ("high", "normal", "low")
    for inbox in ("coder", "role-review")
]


def stored(seq, *, place="coder.tasks.high", sender="planner", **more):
    """Return a stored task whose id has its number."""
    data = more.pop("data", None)
    inbox, _, lane = place.split(".")
    changed = {"id": f"t{seq}", "to": inbox, "priority": lane, "sender": sender, **more}
    task = TASK.model_copy(update=changed)
    headers = codec.task_headers(task)
    return Found(
        f"agentbus.{place}.{sender}", seq, NOON, headers, data or codec.encode_task(task)
    )  # fmt: skip


def over(seq):
    """Return a stored task whose deadline is this moment."""
    return stored(seq, expires_at=NOON)


class Look:
    """What a reader of two inboxes sees of what is stored there."""

    def __init__(self, *messages):
        self.server = Server(messages=sorted(messages, key=lambda each: each.seq))
        me = Agent("coder", roles=("review",), accept_from=("planner",))
        self.session = SimpleNamespace(
            bus=self.server, me=me, inboxes=("coder", "role-review"), refreshed=lambda: me
        )

    @property
    def pages(self):
        """What was asked for of which lanes: by number, from which sequence on, how many."""
        asked = [each for each in self.server.asked if each[0] == TASKS]
        return [(LANES.index(lane), start, page) for _, lane, start, page in asked]

    async def __call__(self, limit=5, thread_id=None, cursor=None):
        glance = await peek(self.session, limit, thread_id, cursor)
        return [each.task.id for each in glance.seen], glance.notes, glance.next_cursor


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: NOON)


async def test_all_lanes_of_all_inboxes_are_looked_through_the_urgent_first():
    low, high = stored(1, place="coder.tasks.low"), stored(4)
    normal = stored(3, place="role-review.tasks.normal")
    roles = stored(2, place="role-review.tasks.high")
    look = Look(low, high, normal, roles)
    claimed = step(first_record(sent_of(read_back.decoded(high))), "claimed", "coder", "s1", NOON)
    subject = "agentbus.planner.results.coder.t4"
    look.server.messages.append(Found(subject, 9, NOON, {}, codec.encode_record(claimed)))

    assert await peek(look.session, 50, None, None) == Glance(
        (
            Seen(read_back.decoded(high), claimed), Seen(read_back.decoded(roles)),
            Seen(read_back.decoded(normal)), Seen(read_back.decoded(low)),
        ), (), None,
    )  # fmt: skip
    assert look.pages == [(0, 1, 51), (1, 1, 50), (2, 1, 49), (3, 1, 49), (4, 1, 48), (5, 1, 47)]


async def test_each_look_goes_on_where_the_one_before_has_ended():
    role = "role-review.tasks.high"
    look = Look(stored(3), stored(5), stored(9), stored(1, place=role), stored(2, place=role))
    first = await look(2)
    second = await look(2, cursor="peek-0-9")
    third = await look(2, cursor="peek-1-2")

    assert first == (["t3", "t5"], (), "peek-0-9")
    assert second == (["t9", "t1"], (), "peek-1-2")
    assert third == (["t2"], (), None)
    assert look.pages == [
        (0, 1, 3), (0, 9, 3), (1, 1, 2), (1, 2, 3), (2, 1, 2), (3, 1, 2), (4, 1, 2), (5, 1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("behind", "cursor"),
    [
        ([], None),
        ([over(3)], None),
        ([stored(3, sender="mallory")], None),
        ([stored(3)], "peek-0-3"),
        ([stored(3, place="role-review.tasks.low")], "peek-5-3"),
    ],
    ids=["nothing", "over", "not taken", "one", "in the last lane"],
)
async def test_a_look_that_has_shown_all_says_so_also_where_that_fills_it(behind, cursor):
    look = Look(stored(1), stored(2), *behind)
    shown, _, goes_on = await look(2)

    assert (shown, goes_on) == (["t1", "t2"], cursor)
    if cursor:
        assert await look(2, cursor=cursor) == (["t3"], (), None)


async def test_a_page_of_what_is_over_does_not_end_the_look():
    look = Look(over(1), over(2), stored(3))

    assert await look(2) == (["t3"], (), None)
    assert look.pages[:2] == [(0, 1, 3), (1, 1, 2)]


async def test_of_a_conversation_no_more_is_shown_than_asked_for_and_no_other():
    look = Look(
        stored(3, thread_id="x"), stored(4), stored(5, thread_id="x"), stored(9, thread_id="x")
    )
    first = await look(2, "x")
    second = await look(1, "x", cursor="peek-0-9")

    assert first == (["t3", "t5"], (), "peek-0-9")
    assert second == (["t9"], (), None)
    assert look.pages[0] == (0, 1, glances._PAGE)


@pytest.mark.parametrize(("most", "searched"), [(3, 4), (4, 4), (5, 5)])
async def test_a_conversation_is_looked_for_among_so_many_and_it_is_said_how_to_go_on(
    monkeypatch, most, searched
):
    monkeypatch.setattr(glances, "_SEARCHED_MAX", most)
    monkeypatch.setattr(glances, "_PAGE", 2)
    look = Look(*(stored(seq) for seq in range(1, 5)), stored(6), stored(7, thread_id="x"))
    note = f"{most} stored tasks were searched; go on with the cursor."
    if searched == 5:  # the page that has the last of them has the next one, too
        assert await look(1, "x") == (["t7"], (), "peek-0-8")
    else:
        assert await look(1, "x") == ([], (note,), "peek-0-5")
        assert await look(1, "x", cursor="peek-0-5") == (["t7"], (), None)


async def test_what_cannot_be_read_is_told_of():
    ids, [note], cursor = await Look(stored(1, data=b"{"), stored(2))()

    assert (ids, cursor) == (["t2"], None)
    assert note.startswith("A stored message cannot be read: ")
    assert note.endswith(". The next reader parks it.")


async def test_of_senders_whose_tasks_are_not_taken_it_is_said_how_many_are_not_shown():
    look = Look(stored(1, sender="mallory"), stored(2), stored(3, sender="mallory"))

    note = (
        "Not shown: 2 of senders whose tasks coder does not take. Whoever reads the inbox next "
        "ends them as rejected."
    )
    assert await look() == (["t2"], (note,), None)


async def test_as_many_are_shown_as_asked_for_besides_those():
    look = Look(stored(1, sender="mallory"), stored(2), stored(3))
    ids, notes, cursor = await look(1)

    assert (ids, len(notes), cursor) == (["t2"], 1, "peek-0-3")


async def test_a_cursor_may_have_a_long_number():
    assert await Look(stored(1))(cursor=f"peek-0-{22 * '9'}") == ([], (), None)


@pytest.mark.parametrize(
    "cursor", ["peek-x-1", "peek-1-x", "peek-٣-1", "peek-0-٣", "peek-0-²", f"peek-0-{23 * '9'}"]
)
async def test_what_is_no_cursor_of_a_look_is_refused_before_anything_is_asked(cursor):
    look = Look(stored(1))
    with pytest.raises(BadInput, match="not one of a peek"):
        await look(cursor=cursor)

    assert look.server.asked == []
