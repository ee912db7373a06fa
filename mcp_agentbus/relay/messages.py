# SPDX-License-Identifier: Apache-2.0
r"""What a host says, line by line: a message for the server, or what the host is told instead.

    >>> read(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
    Message(content={...}, line=b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
    >>> read(b'[]\n').answer
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"..."}}\n'

Every line but a response and a blank one has one of both, so no request goes without an answer: one
with an id is refused for that id, and a batch for each of its ids. What goes on to the server is
written anew, as one JSON text that any reader takes: a line costs the server, which has other
sessions, no more than its bytes. It knows no method of MCP, but that what is called `arguments` is
an object; in what is no text it puts U+FFFD, and tells the server so.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from mcp_agentbus.core import lines
from mcp_agentbus.core.lines import Lines

#: How long a line may be, in bytes without its end. The longest that a tool takes has 2 MiB.
LINE_MAX_BYTES: Final = 8 * 1024 * 1024

_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600
_INVALID_PARAMS: Final = -32602
#: Far more than any call has; the readers behind this one give up at 200 levels.
DEPTH_MAX: Final = 100
VALUES_MAX: Final = 10_000
_TOO_LONG: Final = f"it is longer than {LINE_MAX_BYTES:,} bytes, so send the path of a file"
_TOO_DEEP: Final = f"it is nested more than {DEPTH_MAX} deep"
_NO_NAMES: Final = 'its arguments are no object such as {"limit": 5}'
_BATCH: Final = "it is a batch, which MCP has not: each request is a line of its own"
# A longer integer is read as a number of any kind: readers limit them, too.
_DIGITS_MAX: Final = 300
_BOM: Final = "\ufeff"
# Patterns are compiled at their first use, which few sessions have.
_NO_TEXT: Final = "[\ud800-\udfff]"
_STRING: Final = rb'"(?:[^"\\]|\\.)*"'
_ID: Final = rb'"id"\s*:\s*(-?\d{1,%d}|%s)\s*' % (_DIGITS_MAX, _STRING)
_VERSION: Final = rb'"jsonrpc"\s*:\s*"2.0"\s*'
# The id of a line that is not read whole, where hosts write it: before all that may be long, or
# behind that. Inside of what is long, more than one bracket would follow, or its quotes be escaped.
_ID_FIRST: Final = (
    rb'(?:\xef\xbb\xbf)?\s*\{\s*(?:"(?:jsonrpc|method)"\s*:\s*"[^"\\]*"\s*,\s*)*%s[,}]' % _ID
)
_ID_LAST: Final = rb"(?<!\\)%s(?:,\s*%s)?\}\s*\Z" % (_ID, _VERSION)


class HostMessage(NamedTuple):
    """A request or notification for the server."""

    content: dict[str, Any]
    #: The same as a line.
    line: bytes


class NoMessage(NamedTuple):
    """What is no message for the server."""

    #: The lines that tell the host so: one, or one for each request of a batch.
    answer: bytes


def read(line: bytes) -> HostMessage | NoMessage | None:
    """Return what a line is; None for blanks, and for a response, as the server has asked for none.

    A line without an end was too long, see `Lines`.
    """
    if not line.endswith(b"\n"):
        return _refused(_id_at_an_end(line), _TOO_LONG)
    text = line.decode("utf-8", "surrogateescape").removeprefix(_BOM)
    try:
        content = _decode(text)
        size = _size(content, text) or _spelled_out(content)
    except RecursionError:
        return _refused(_id_at_an_end(line), _TOO_DEEP)
    except ValueError as error:
        told = _refused(_id_at_an_end(line), f"it is no JSON, {error}", _PARSE_ERROR)
        return told if text.strip() else None
    if _is_response(content):
        return None
    if why := _fault(content) or size:
        return _refused_all(_ids(content), why)
    return _message(content)


def dump(content: dict[str, Any]) -> bytes:
    """Return a message as a line.

    Raises:
        UnicodeEncodeError: there is something in it that is no text.
    """
    return _dumped(content).encode()


def with_meta(content: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return a request with more in its `_meta`, if that is an object."""
    params = content.get("params") or {}
    meta = params.get("_meta") or {}
    if not isinstance(meta, dict):
        return content
    return {**content, "params": {**params, "_meta": {**meta, **more}}}


def _message(content: dict[str, Any]) -> HostMessage | NoMessage:
    if _lacks_names(content):
        return _refused(_id(content), _NO_NAMES, _INVALID_PARAMS)
    text = _dumped(content)
    try:
        return HostMessage(content, text.encode())
    except UnicodeEncodeError:
        text, count = re.subn(_NO_TEXT, "\ufffd", text)
        content = _decode(text)
        if "id" in content:
            content = with_meta(content, {lines.NO_TEXT: count})
        return HostMessage(content, dump(content))


def _dumped(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= _DIGITS_MAX else float(digits)


_decode: Final = json.JSONDecoder(parse_int=_number).decode


def _is_response(content: Any) -> bool:
    is_object = isinstance(content, dict)
    return is_object and "method" not in content and bool(content.keys() & {"result", "error"})


def _fault(content: Any) -> str:
    """Return why it is no message; empty if it is one."""
    if not isinstance(content, dict):
        is_batch = isinstance(content, list)
        return _BATCH if is_batch else "it is no object"
    wrong = {
        "its id is neither a text nor an integer": "id" in content and _id(content) is None,
        "its id has half a surrogate pair in it": not _is_text(str(_id(content))),
        'its jsonrpc is not "2.0"': content.get("jsonrpc") != "2.0",
        "its method is no text": not isinstance(content.get("method"), str),
        "its params are no object": not isinstance(content.get("params"), dict | None),
    }
    return next((why for why, is_so in wrong.items() if is_so), "")


def _lacks_names(content: dict[str, Any]) -> bool:
    params = content.get("params")
    return isinstance(params, dict) and not isinstance(params.get("arguments"), dict | None)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(content: Any) -> str | int | None:
    given = content.get("id") if isinstance(content, dict) else None
    return given if isinstance(given, str | int) and not isinstance(given, bool) else None


def _ids(content: Any) -> list[str | int | None]:
    """Return the ids for which a line is refused; None for what has none that can be read.

    A batch is refused for each of its requests, as whoever sent it waits for all of them.
    """
    if not isinstance(content, list):
        return [_id(content)]
    asked = [each for each in content if not (_is_response(each) or _is_notification(each))]
    return list(dict.fromkeys(map(_id, asked))) or [None]


def _is_notification(content: Any) -> bool:
    return isinstance(content, dict) and "method" in content and "id" not in content


def _size(content: Any, text: str) -> str:
    """Return why a line would cost a reader more than its bytes; empty if it would not."""
    if text.count("[") + text.count("{") <= DEPTH_MAX and text.count(",") < VALUES_MAX:
        return ""
    values, left = 0, [(content, 1)]
    while left:
        value, depth = left.pop()
        inside = value.values() if isinstance(value, dict) else value
        if not isinstance(value, dict | list):
            continue
        if depth > DEPTH_MAX:
            return _TOO_DEEP
        values += len(value)
        if values > VALUES_MAX:
            return f"it has more than {VALUES_MAX:,} values"
        left += ((each, depth + 1) for each in inside)
    return ""


def _spelled_out(content: Any) -> str:
    """Have the arguments of a call be an object where they are the JSON of one, or empty.

    Returns why that would cost a reader more than its bytes; empty if it would not.
    """
    params = content.get("params") if isinstance(content, dict) else None
    if not isinstance(params, dict):
        return ""
    arguments = given = params.get("arguments")
    if isinstance(given, str):
        try:
            arguments = _decode(given or "{}")
        except RecursionError:
            return _TOO_DEEP
        except ValueError:
            return ""
    if arguments in (None, []):  # an empty list is how some languages write an empty object
        arguments = {}
    if given is None or given is arguments or not isinstance(arguments, dict):
        return ""
    params["arguments"] = arguments
    return _size(arguments, str(given))


def _id_at_an_end(line: bytes) -> str | int | None:
    """Return the id of a line that cannot be read whole, if it stands first or last in it."""
    line = Lines.ends(line)
    found = re.match(_ID_FIRST, line) or re.search(_ID_LAST, line)
    try:
        return _id({"id": _decode(found[1].decode("utf-8", "surrogateescape"))}) if found else None
    except ValueError:
        return None


def _refused_all(requests: Iterable[str | int | None], why: str) -> NoMessage:
    return NoMessage(b"".join(_refused(request, why).answer for request in requests))


def _refused(request: str | int | None, why: str, code: int = _INVALID_REQUEST) -> NoMessage:
    message = (
        f"The line was not read: {why}. Nothing was done for it. "
        "Send each message as one line of JSON-RPC 2.0, in UTF-8."
    )
    error = {"code": code, "message": message}
    answer = {"jsonrpc": "2.0", "id": request, "error": error}
    # In ASCII, so that an id comes back as it was, text or not.
    return NoMessage(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
