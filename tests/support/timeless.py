# SPDX-License-Identifier: Apache-2.0
"""What is said of how something ended, whatever time it took: that is the machine's matter.

>>> timeless("exit code 0 after 3 s")
'exit code 0 after N s'
"""

import re


def timeless(said):
    """Return what is said, with N in the place of the seconds."""
    return re.sub(r"after \d+ s", "after N s", said)
