# SPDX-License-Identifier: Apache-2.0
"""What is known of a task, by what was read of the archive so far."""

import pytest
from local_server import settings_at
from situations import NOW

from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.history import Current
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.overview.known import Known, Listener


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_task_that_was_not_read_yet_is_not_told_as_one_that_there_is_not(is_whole):
    with Archive(None, Keeps()) as archive:
        current = Current(archive, Extent(is_whole))
        here = Known(settings_at("/nowhere"), NOW, current, Listener())
        with pytest.raises(UnknownTask) as caught:
            here.task("9d0c2f")

    assert ("among what was read so far" in caught.value.message) is not is_whole
    assert caught.value.hint.startswith("The same again looks further back.") is not is_whole
