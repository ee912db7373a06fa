# SPDX-License-Identifier: Apache-2.0
"""A program that posts one line to a webhook, whose address is in the FILE that it is given.

    POST /services/...   {"text": "coder needs an approval: agentbus task 9d0c2f1e"}

The line comes from standard input. It prints why it was not taken, without a
piece of the address; whoever has started it limits its time.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from pathlib import Path
from typing import Final

from mcp_agentbus.errors import BadSetup
from mcp_agentbus.human import address

# Of each step of the network; whoever waits for all of it has a limit of their own.
_TIMEOUT_S: Final = 10.0
# An answer is a word; more is not read.
_ANSWER_MAX_BYTES: Final = 64 * 1024


def post(file: Path, line: str) -> str:
    """Post a line; return why it was not taken, or nothing."""
    try:
        parts = address.of(file)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        content = json.dumps({"text": line})
        connection.request("POST", path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read(_ANSWER_MAX_BYTES)
        connection.close()
    except BadSetup as error:
        return error.message
    except ssl.SSLCertVerificationError:
        return "its certificate is not trusted; name a private CA's in SSL_CERT_FILE"
    except TimeoutError:
        return f"it did not answer within {_TIMEOUT_S:.0f} s"
    except (OSError, http.client.HTTPException, UnicodeError):  # whose texts name the address
        return "it cannot be reached, or does not speak HTTP"
    # One that leads elsewhere is not followed: what it was trusted with is at that place alone.
    return "" if 200 <= answer.status < 300 else f"it answered with HTTP status {answer.status}"


if __name__ == "__main__":
    why = post(Path(sys.argv[1]), sys.stdin.read().strip())
    print(why, end="")  # noqa: T201  # it is read by whoever has started this
    sys.exit(bool(why))
