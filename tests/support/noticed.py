# SPDX-License-Identifier: Apache-2.0
"""What a host's waker asks for the notice, in tests of wakers.

>>> Call(rules, telling("1 task waits."), environ, lambda _: None)
"""


def telling(text):
    """Return what tells this text."""

    async def told():
        return text

    return told
