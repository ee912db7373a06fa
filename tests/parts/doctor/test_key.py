# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` says of the key of this machine, without which nothing is sent."""

import pytest
from local_server import settings_at

from mcp_agentbus.config import machine_key
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.doctor import machine


@pytest.mark.parametrize(("held", "is_mended"), [(b"", True), (b"short", False)])
def test_a_key_that_lets_nothing_be_sent_is_wrong_and_one_without_anything_is_removed(
    tmp_path, held, is_mended
):
    settings = settings_at(tmp_path)
    unforeseen(settings.state_dir, "a")
    assert [check.state for check in machine.files(settings)] == ["ok"]
    file = machine_key.file_in(settings.state_dir)
    file.write_bytes(held)

    [told] = machine.files(settings)
    if told.mend:
        told.mend.do()

    assert (told.state, told.fix.startswith(f"Run: rm {file}")) == ("wrong", True)
    assert (told.mend is not None, file.exists()) == (is_mended, not is_mended)
