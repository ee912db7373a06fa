# SPDX-License-Identifier: Apache-2.0
"""Calls that an actor of the chaos run has waited for in vain."""

from types import SimpleNamespace

from actors import Actor
from checker import check
from choices import Choices
from held import Contents
from ledger import Call, Ledger, Pulse


def _broken(ledger, pulse):
    judged = Ledger()
    for entry in (*ledger.all(Call), pulse):
        judged.add(entry)
    return {violation.kind for violation in check(judged, Contents({}))}


async def test_a_call_that_was_given_up_is_judged_by_how_slow_the_machine_was_then():
    class Silent:
        name = session = "ana-1#1"

        async def call(self, tool):
            raise TimeoutError

        def kill(self):
            pass

    times = iter((12.0, 75.0, 75.0))
    ledger = Ledger()
    world = SimpleNamespace(ledger=ledger, clock=lambda: next(times), choices=Choices(1))
    answer, _ = await Actor(world, Silent())._ask("read_inbox")

    assert answer.outcome == "unknown"
    assert _broken(ledger, Pulse(20.0, 19.0, 6.0)) == set()
    assert _broken(ledger, Pulse(20.0, 19.0, 3.0)) == {"no answer"}
