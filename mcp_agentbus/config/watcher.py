# SPDX-License-Identifier: Apache-2.0
"""config.toml while a listener runs: read again when it, or its mode, was changed.

    watcher = Watcher(settings)
    if watcher.changed():       # asked again and again: a file's stamp costs next to nothing
        settings = watcher.settings

Which bus it is stays until the listener is started anew, and while the file cannot be read, so
does what it said before. It has no thread and no timer.
"""

from __future__ import annotations

from dataclasses import replace

from mcp_agentbus.config.settings import Settings, load_settings, stamp_of
from mcp_agentbus.errors import BadSetup


class Watcher:
    """What may change meanwhile as it is written now: agents, rules, archive, human."""

    def __init__(self, settings: Settings) -> None:
        """Begin with settings as they were read, however long ago."""
        #: As they could be read last.
        self.settings = settings
        #: Why the file as it is now cannot be read; empty if it can.
        self.says = ""
        self._read = settings.stamp

    def changed(self) -> bool:
        """Read the file if it was changed; tell whether anything is to be done about that."""
        stamp = stamp_of(self.settings.config_file)
        if stamp == self._read:
            return False
        try:
            new = load_settings(self.settings.environ)
        except BadSetup as error:
            before, self.says = self.says, error.message
            # What the system refuses it may give at the next look, without a change of the file.
            if isinstance(error.__context__, OSError):
                self._read = None
                return self.says != before
            self._read = stamp
        else:
            self._read = stamp
            self.says = ""
            self.settings = replace(
                self.settings,
                rules=new.rules,
                agents=new.agents,
                archive=new.archive,
                human=new.human,
            )
        return True
