# SPDX-License-Identifier: Apache-2.0
"""What a sender is told of one addressee: all that is known, and whether it wakes."""

from datetime import UTC, datetime

import pytest
from messages import read_task

from mcp_agentbus.core.notices import Holds, Reason
from mcp_agentbus.errors import InboxFull
from mcp_agentbus.handoff.dispatch.receipts import receipt_of
from mcp_agentbus.store.outbox.outbox import KeptHere
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.task import Receipt
from mcp_agentbus.store.tasks import Kept

SEEN = datetime(2026, 5, 17, tzinfo=UTC)
TASK = read_task().model_copy(
    update={
        "notify": "wake",
        "deliver_at": datetime(2026, 5, 19, tzinfo=UTC),
        "expires_at": datetime(2026, 5, 20, tzinfo=UTC),
    }
)
KEPT = Kept(sent_of(TASK), duplicate=False)
OF_ALL = {"task_id": TASK.id, "to": "role:review", "expires_at": TASK.expires_at}
ON_THE_ROSTER = {"recipient": "offline", "last_seen": SEEN}
NO_LISTENER = "no listener that runs is set up for it"
AS_SENT = {"notify": "wake", "deliver_at": TASK.deliver_at}


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (KEPT, {**AS_SENT, "wake": "held"}),
        (Kept(KEPT.sent, duplicate=True), {**AS_SENT, "wake": "held", "duplicate": True}),
        (
            KeptHere(duplicate=True, why="away"),
            {**AS_SENT, "state": "stored_here", "wake": "not_known", "duplicate": True},
        ),
        (
            KeptHere(duplicate=False, why="away"),
            {**AS_SENT, "state": "stored_here", "wake": "not_known"},
        ),
        (InboxFull("full", hint="Wait."), {"state": "refused"}),
    ],
)
def test_a_receipt_says_all_that_is_known_of_a_task(outcome, told):
    receipt = receipt_of("role:review", Entry("role-review", "offline", SEEN), TASK, outcome)

    reason = {"refused": "full Wait.", "stored_here": "away"}.get(receipt.state, receipt.reason)
    assert receipt == Receipt(**OF_ALL, **ON_THE_ROSTER, **told, reason=reason)


@pytest.mark.parametrize("expect", ["answer", "nothing"])
@pytest.mark.parametrize("outcome", [KEPT, KeptHere(duplicate=False)])
def test_a_receipt_says_whether_an_answer_is_expected(outcome, expect):
    task = TASK.model_copy(update={"expect": expect})

    assert receipt_of("coder", None, task, outcome).expect == expect


@pytest.mark.parametrize(
    ("entry", "of", "wake", "reason"),
    [
        (None, {}, "not_known", "the roster cannot be read"),
        (None, {"priority": "normal"}, "not_requested", ""),
        (Entry("coder", "listening"), {"expect": "nothing"}, "not_requested", ""),
        (Entry("coder", "listening"), {"priority": "normal"}, "not_requested", ""),
        (Entry("coder", "listening", holds=(Holds(),)), {}, "requested", ""),
        (
            Entry("coder", "listening", holds=(Holds(everybodys=Reason.PROFILE),)), {},
            "held", Reason.PROFILE.why,
        ),
        (
            Entry("coder", "not known"), {}, "not_known",
            "the bus server has just started and has not heard from its listener",
        ),
        (
            Entry("coder", "offline"), {}, "held",
            f"{NO_LISTENER}; the task is seen when a session of the agent starts",
        ),
        (
            Entry("coder", "live session"), {}, "held",
            f"{NO_LISTENER}; a live session sees the task at its next call",
        ),
    ],
)  # fmt: skip
def test_what_is_known_of_a_wake_is_said_as_the_task_is_stored(entry, of, wake, reason):
    receipt = receipt_of("coder", entry, TASK.model_copy(update=of), KEPT)

    assert (receipt.wake, receipt.reason) == (wake, reason)
    assert receipt.recipient == (entry.state if entry else "not known")
