# SPDX-License-Identifier: Apache-2.0
"""Who reads JSON."""

from code_seen import seen
from test_shape import MODULES, ROOT

# Who reads JSON by another reader than `core.text`, and why.
READ_JSON = {
    "core/locks.py": "loaded by every hook; the file is this program's own, and looked at by type",
    "relay/conversation.py": "loaded by every session; it has what `relay.messages` has read",
    "relay/local_socket.py": "loaded by every command; for the same user's processes",
    "relay/messages.py": "loaded by every session; keeps numbers as their host has written them",
    "store/codec.py": "keeps what other versions, and other programs, have written",
    "installers/_parts/json_text.py": "knows where each value stands, to change one of them",
}


def test_it_is_read_by_one_function():
    """Python's own ends in errors of several kinds over depth and over numbers."""
    calls = {
        str(path.relative_to(ROOT)).removeprefix("mcp_agentbus/")
        for path in MODULES.values()
        for _, of, name in seen(path).attributes
        if of == "json" and name in {"load", "loads", "JSONDecoder"}
    }

    assert calls == {"core/text.py", *READ_JSON}
