# SPDX-License-Identifier: Apache-2.0
"""What a listener says of an archive that it cannot keep."""

import asyncio
from dataclasses import replace

from mcp_agentbus.archive.keeper import Keeper
from mcp_agentbus.config import names
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core import files


async def test_where_the_book_of_names_cannot_be_read_it_says_that_no_history_is_kept(settings):
    settings.state_dir.mkdir(parents=True)
    files.write_whole(names.file_of(settings), b"no book")
    told = asyncio.Queue()
    elsewhere = replace(settings, url="nats://127.0.0.1:1")
    keeper = Keeper(None, Watcher(elsewhere), None, told.put_nowait)
    running = asyncio.ensure_future(keeper.run())
    async with asyncio.timeout(5):
        assert await told.get() == {"error": keeper.says}
    running.cancel()

    assert keeper.says.startswith(f"{names.file_of(settings)}, the book of names, cannot be read.")
