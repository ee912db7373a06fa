# SPDX-License-Identifier: Apache-2.0
"""One task of planner's for coder, as it lies at a server, and where."""

from datetime import timedelta

from server_stand_in import NOON

from mcp_agentbus.bus.replies import Delivery, Found
from mcp_agentbus.store import codec, streams
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.task import Task

HOUR = timedelta(hours=1)
TASK = Task(
    id="t1", sender="planner", to="coder", subject="Count", body="all", priority="high",
    thread_id="t1", created_at=NOON - HOUR, expires_at=NOON + HOUR, request="r1",
    chain=("planner",), session="5e55",
)  # fmt: skip
SENT = sent_of(TASK)
SUBJECT = "agentbus.coder.tasks.high.planner"
WAITS = "agentbus.coder.sched.high.planner.t1"
DUE = "agentbus.coder.due.high.planner"
RECORD = "agentbus.planner.results.coder.t1"
KEPT_AT = "agentbus.planner.sent.coder.t1"
DELETED = ("STREAM.MSG.DELETE.AGENTBUS_TASKS", {"seq": 7})
LATER = TASK.model_copy(update={"deliver_at": NOON + timedelta(minutes=30)})
HEADERS = {
    "Agentbus-Task": "t1", "Agentbus-Thread": "t1", "Agentbus-Hops": "0",
    "Agentbus-Chain": "planner", "Agentbus-Session": "5e55", "Agentbus-Request": "r1",
}  # fmt: skip
SETTINGS = streams.SETTINGS[streams.STREAMS.index("AGENTBUS_SCHED")]
ROOM = {"config": SETTINGS, "state": {"bytes": 0}}


def message(task=TASK, seq=7, subject=SUBJECT, **headers):
    return Found(
        subject, seq, NOON, {**codec.task_headers(task), **headers}, codec.encode_task(task)
    )


def taken(**fields):
    of_it = {"subject": SUBJECT, "data": b"", "headers": {"Agentbus-Task": "t1"}, "token": ""}
    there = {"stream": "AGENTBUS_TASKS", "seq": 7, "offered": 1, "stored_at": NOON, "waiting": 0}
    return Delivery(**of_it | there | fields)
