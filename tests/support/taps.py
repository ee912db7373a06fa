# SPDX-License-Identifier: Apache-2.0
"""What a person is told of a hostile bus, in tests: each kind of need, crafted, and its line.

tell_by(settings)
await look_at_taps(places, settings, listener, raw, needing(...))
"""

import json

import served

from mcp_agentbus.store import subjects

#: A listener that does not wait a minute until it tells the next thing.
AT_ONCE = [*served.changed("human.teller.PAUSE = timedelta(0)"), "listen"]
#: By what a line shows its kind.
WORDS = {
    "needs_approval": "needs an approval", "needs_input": "needs an answer",
    "parked": "was set aside", "failed": "could not do a task", "held": "is held",
}  # fmt: skip


def tell_by(settings):
    """Have a person be told by a program that writes each line into a file."""
    rung = settings.data_dir.parent / "rung"
    with settings.config_file.open("a") as file:
        ring = json.dumps(["/bin/sh", "-c", f"cat >> '{rung}'"])
        file.write(f"[human]\ncommand = {ring}\non = {json.dumps([*WORDS])}\n")


def needing(me, values, at, fields, held):
    """Return what is stored of each kind, by the kind; `held` is a task for who is not woken."""
    role = f"role-{values['Record.inbox']}"
    told = fields | {
        "type": "task.result", "agent": values["Record.agent"], "updated_at": at,
        "summary": values["Record.summary"], "result": values["Record.body"],
        "reason": values["Record.reason"],
    }  # fmt: skip
    needs = {
        kind: (subjects.record_subject(me, role, f"tap-{kind}"), told | {"status": kind}, {})
        for kind in WORDS
    }
    return {**needs, "held": held}


async def look_at_taps(places, settings, listener, raw, needs):
    """Have a person be told of each need, stored one by one; look at what they are told."""
    folder = settings.data_dir.parent
    rung = folder / "rung"

    def told():
        return rung.read_text() if rung.exists() else ""

    for kind, stored in needs.items():
        before = len(told())
        await raw.put(*stored)
        while WORDS[kind] not in told()[before:]:
            await listener.logged("human")
    places.text("a tap", rung.read_text())
    places.text("human", (await served.typed(folder, "human"))[1])
    places.json("human", (await served.typed(folder, "human", "--json"))[1])
