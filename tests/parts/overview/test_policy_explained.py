# SPDX-License-Identifier: Apache-2.0
"""What `agentbus policy explain` reads of the record of wakes."""

from contextlib import closing
from dataclasses import replace

import pytest
from local_server import configured
from situations import NOW, entry

from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.history import Current
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.overview import policy
from mcp_agentbus.overview.known import Known
from mcp_agentbus.overview.listener import Listener
from mcp_agentbus.overview.on_bus import OnBus
from mcp_agentbus.overview.policy import Explained
from mcp_agentbus.wakes import ledger
from mcp_agentbus.wakes.ledger import Ledger

TEXT = """\
[agents.coder]
host = "command"
command = ["true"]
dir = "{0}"
wake = "work"
wake_on = ["high", "normal", "low"]
[agents.reviewer]
host = "command"
command = ["true"]
dir = "{0}"
wake = "work"
wake_on = ["high", "normal", "low"]
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_it_is_opened_once_for_an_answer_and_closed_and_never_made(tmp_path, monkeypatch, is_there):
    opened, connect = [], ledger.sqlite3.connect

    def noted(*given, **options):
        opened.append(connect(*given, **options))
        return opened[-1]

    settings = configured(tmp_path / "home", TEXT.format(tmp_path), HOME=str(tmp_path))
    if is_there:
        with closing(Ledger(settings.ledger_file)) as made:
            made.remembered()
    entries = {
        name: replace(entry(), id=name, roles=("all-of-us",)) for name in ("coder", "reviewer")
    }
    with Archive(None, Keeps()) as archive:
        here = Known(settings, NOW, Current(archive, Extent()), Listener(), OnBus(entries))
        monkeypatch.setattr(ledger.sqlite3, "connect", noted)
        explained = policy.explain(here, "planner", "role:all-of-us")

    assert [len(each.lanes) for each in explained.agents] == [3, 3]
    assert len(opened) == is_there
    assert settings.ledger_file.exists() == is_there
    for each in opened:
        with pytest.raises(ledger.sqlite3.ProgrammingError, match="closed"):
            each.execute("SELECT 1")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("in a live session", "coder is in a live session. It"),
        ("offline", "coder is offline. It"),
        ("never seen", "coder has not been seen yet. It"),
        ("not known", "Whether coder is there is not known yet. It"),
    ],
)
def test_of_an_agent_it_is_said_whether_it_is_there_as_in_receipts(state, said):
    reader = policy.Candidate("coder", state, accepted=True, rule="It takes all")

    assert Explained("planner", "coder", (reader,)).text.splitlines()[1].startswith(said)
