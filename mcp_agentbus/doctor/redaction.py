# SPDX-License-Identifier: Apache-2.0
"""What is never printed."""

from __future__ import annotations

from contextlib import suppress

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.doctor.report import _SECRET_MIN_CHARS, _SECRET_NAMES, Out


def veiled(settings: Settings, out: Out) -> Out:
    """Return an `out` that shows none of the secrets which checks may have come across.

    No check prints one; but a host's own words are passed on, and may hold anything.
    """
    secrets = {
        value
        for name, value in settings.environ.items()
        if _SECRET_NAMES.search(name) and not value.startswith("/")  # a path is none
    }
    tokens = [embedded.Files(settings.data_dir).token, settings.token_file]
    tokens += [one.token_file for one in settings.rules.values()]
    for file in tokens:
        with suppress(OSError, ValueError):
            if file:
                secrets |= {*file.read_text(errors="replace").split()}
    hidden = sorted((one for one in secrets if len(one) >= _SECRET_MIN_CHARS), key=len)

    def show(text: str) -> None:
        for one in reversed(hidden):
            text = text.replace(one, "***")
        out(text)

    return show
