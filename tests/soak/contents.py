# SPDX-License-Identifier: Apache-2.0
"""What the server holds, read as bytes by a client of the tests' own.

    >>> (await contents(Raw(home / "data"), listed, archived)).records["9d0c..."].state
    'completed'

Nothing of the package is used, and nothing asked that an agent might answer.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

from held import Archived, Contents, Lane, Record
from rawclient import Raw

_LANES = ("high", "normal", "low")
# Who joins an account has it test itself, by agents of its own.
_TESTS = "doctor-"


async def contents(server: Raw, listed: dict[str, int], archived: dict[str, Archived]) -> Contents:
    """Read all streams; commands have just said what is `listed` and `archived`."""
    async with server as raw:
        records, sent = await _records(raw)
        waiting, stored = {}, Counter()
        for message in await raw.contents("AGENTBUS_TASKS"):
            _, inbox, _, lane, _ = message.subject.split(".")
            waiting[json.loads(message.data)["id"]] = inbox, lane
            stored[inbox, lane] += 1
        scheduled = frozenset(
            message.subject.split(".")[-1]
            for message in await raw.contents("AGENTBUS_SCHED")
            if message.subject.split(".")[2] == "sched"
        )
        return Contents(
            records, sent, waiting, scheduled, await _lanes(raw, stored), listed, archived
        )


async def _records(raw: Raw) -> tuple[dict[str, Record], dict[str, str]]:
    records, sent, seen = {}, {}, {}
    for message in await raw.contents("AGENTBUS_RESULTS"):
        _, owner, kind, _, task = message.subject.split(".")
        if owner.startswith(_TESTS):
            continue
        fields = json.loads(message.data)
        if kind == "sent":
            sent[task] = fields["subject"]
            seen[task] = fields.get("seen_revision", 0)
        elif kind == "results":
            states = tuple(moment["state"] for moment in fields["history"])
            told = fields["status"], fields.get("summary", ""), states
            records[task] = Record(*told, fields.get("owner_session", ""), revision=message.seq)
    known = {task: replace(record, seen=seen.get(task, 0)) for task, record in records.items()}
    return known, sent


async def _lanes(raw: Raw, stored: Counter) -> tuple[Lane, ...]:
    lanes = []
    listed = await raw.api("CONSUMER.NAMES.AGENTBUS_TASKS")
    for name in listed["consumers"]:
        inbox, _, lane = name.rpartition("_")
        info = await raw.api(f"CONSUMER.INFO.AGENTBUS_TASKS.{name}")
        counts = info["num_pending"], info["num_ack_pending"]
        lanes.append(Lane(inbox, lane, stored.pop((inbox, lane), 0), *counts))
    # Nobody has ever read these.
    lanes += [Lane(inbox, lane, count, count, 0) for (inbox, lane), count in stored.items()]
    return tuple(lanes)
