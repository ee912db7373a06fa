# SPDX-License-Identifier: Apache-2.0
"""Two agents in two real processes, in each protocol era."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import served
from mcp import Client

from mcp_agentbus.relay import local_socket


@dataclass(frozen=True)
class Duo:
    """One who sends and never claims anything, and one who works."""

    era: str
    home: Path
    planner: Client
    coder: Client
    planner_id: str
    coder_id: str


@pytest.fixture(scope="session", params=served.ERAS)
def era(request):
    return request.param


@pytest_asyncio.fixture(scope="module")
async def duo(era, home, way):
    """The two, registered. They are shared: a test ends the tasks that coder gets."""
    folder = home.data_dir.parent
    # Ids with all that an id may have, as they become part of a resource's address.
    planner_id, coder_id = (f"{one}_{uuid.uuid4().hex[:6]}-1" for one in ("planner", "coder"))
    holds = [served.Held(served.client(folder, one, era)) for one in (planner_id, coder_id)]
    try:
        planner, coder = await asyncio.gather(*(hold.open() for hold in holds))
        if way == "relayed":
            assert (await asyncio.to_thread(local_socket.ask, home, {"op": "status"}))[
                "relayed"
            ] == 2
        for one in (planner, coder):
            await served.call(one, "list_agents")  # a session registers at its first call
        yield Duo(era, folder, planner, coder, planner_id, coder_id)
    finally:
        await asyncio.gather(*(hold.close() for hold in holds))
