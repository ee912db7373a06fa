# SPDX-License-Identifier: Apache-2.0
"""A listener of another bus holds the socket: whoever counts on it is told so."""

import json

import served
from doctors import report
from listeners import configure, listening

from mcp_agentbus.bus import embedded
from mcp_agentbus.listener import status


def other_bus(settings):
    """Return what leads a listener to the same server, as if it were a shared one."""
    token = embedded.Files(settings.data_dir).token
    return {"AGENTBUS_URL": embedded.find(settings).url, "AGENTBUS_TOKEN_FILE": str(token)}


async def test_an_agent_that_is_added_beside_it_is_not_said_to_be_looked_after(house, notes):
    configure(house, notes)
    add = ["agent", "add", "new", "--host", "command", "--dir", str(notes), "--wake", "work"]
    async with listening(house, **other_bus(house)):
        code, said = await served.typed(house.data_dir.parent, *add, "--", "true")
        _, data = await served.typed(
            house.data_dir.parent, *add, "--json", "--replace", "--", "true"
        )
    configure(house, notes)

    last = said.splitlines()[-1]
    assert code == 0
    assert last.startswith("THE LISTENER THAT RUNS DOES NOT LOOK AFTER IT: ")
    assert other_bus(house)["AGENTBUS_URL"] in last
    assert f"here it is {house.data_dir} by {house.config_file}" in last
    assert last.endswith(status.ELSEWHERE)
    assert (json.loads(data)["listener"], bool(json.loads(data)["elsewhere"])) == (None, True)


async def test_its_status_says_so_and_that_of_the_right_one_does_not(house, notes):
    configure(house, notes)
    async with listening(house, **other_bus(house)):
        _, other = await served.typed(house.data_dir.parent, "listen", "--status")
    async with listening(house):
        _, right = await served.typed(house.data_dir.parent, "listen", "--status")
        found = json.loads(
            (await served.typed(house.data_dir.parent, "listen", "--status", "--json"))[1]
        )

    assert "ANOTHER BUS OR OTHER FOLDERS" in other
    assert "ANOTHER BUS" not in right
    assert (found["bus_at"], found["config_file"], found["elsewhere"]) == (
        str(house.data_dir),
        str(house.config_file),
        "",
    )


async def test_the_doctor_finds_it_wrong(there, tmp_path):
    configure(there, tmp_path)
    async with listening(there, **other_bus(there)):
        code, found = await report(there)

    assert code == 1
    assert found["listener"]["state"] == "wrong"
    assert f"here it is {there.data_dir}" in found["listener"]["said"]
    assert found["listener"]["fix"] == status.ELSEWHERE
