# SPDX-License-Identifier: Apache-2.0
"""What is said beside what a look back found: that nothing is like that, how far it went."""

import pytest
from trails import FIRST, sent

from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BadInput
from mcp_agentbus.tools.answers import past


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tasks", "No task of planner."),
        ("search words", 'No task of your agents with "words" in it.'),
        ("tasks --state failed", "No task of planner is like that."),
        ("tasks --sent --thread th", "No task sent by planner is like that."),
        (
            f"search words --since {FIRST}",
            'No task of your agents with "words" in it is like that.',
        ),
    ],
)
async def test_that_nothing_was_found_is_not_told_as_that_nothing_was_sent(shell, line, said):
    await shell.typed(line)

    assert shell.texts == [said]


async def test_a_note_is_printed_once_also_by_whoever_goes_on(shell):
    shell.notes = ("It is old.", "It is slow.")
    await shell.typed("audit", noted=["It is old."])
    assert shell.done[1] == ("Note: It is slow.", {"noted": ("It is old.", "It is slow.")})

    await shell.typed("audit")
    assert shell.done[1:3] == [
        ("Note: It is old.", {"noted": ("It is old.",)}),
        ("Note: It is slow.", {"noted": ("It is old.", "It is slow.")}),
    ]


@pytest.mark.parametrize("line", ["audit", "export"])
async def test_how_far_back_was_looked_is_said_once_and_beside_the_data(shell, line):
    shell.extent = Extent(is_whole=False)
    said = f"Note: {past.extent_notes(shell.extent)[0]}"
    await shell.typed(line)
    told = shell.texts[:1]
    await shell.typed(line, after=0, until=0, behind=["", 0])
    again = shell.texts[:1]
    await shell.typed(f"{line} --json")

    assert (told, shell.said_aside) == ([said], [said])
    assert said not in [*again, *shell.texts]


async def test_a_named_export_without_a_file_that_keeps_its_name_is_refused(shell):
    """It would print all of it each time."""
    with Archive(None, Keeps()) as shell.archive:
        shell.note(sent(1))
        with pytest.raises(BadInput, match="how far the export 'diary' was"):
            await shell.typed("export --cursor diary")

        assert shell.texts == []
