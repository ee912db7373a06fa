# SPDX-License-Identifier: Apache-2.0
"""No secret of this user in what doctor prints, whatever a check or a host has put into it.

    >>> veiled(settings, print)("it said s3cr3t-t0k3n")
    it said ***

It knows tokens' files and variables by their names; what else may be secret no check reads.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config import inherited
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.files import read_whole
from mcp_agentbus.doctor.report import Out

# What is shorter is a word, such as one that says how to log in.
_SECRET_MIN_CHARS: Final = 8


def veiled(settings: Settings, out: Out) -> Out:
    """Return an `out` that shows none of the secrets which checks may have come across.

    No check prints one; but a host's own words are passed on, and may hold anything.
    """
    secrets = {
        value
        for name, value in settings.environ.items()
        # A path is none; but a key may begin like one.
        if inherited.is_secret(name, value) and not os.path.exists(value)  # noqa: PTH110
    }
    files = [Files(settings.data_dir).token, *settings.secret_files]
    files += filter(None, [rules.token_file for rules in settings.rules.values()])
    for file in files:
        with suppress(OSError, ValueError):
            secrets |= {*read_whole(file).decode(errors="replace").split()}
    # The longest first: one may be in another.
    hidden = sorted((secret for secret in secrets if len(secret) >= _SECRET_MIN_CHARS), key=len)

    def show(line: str) -> None:
        for secret in reversed(hidden):
            line = line.replace(secret, "***")
        out(line)

    return show
