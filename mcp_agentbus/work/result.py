# SPDX-License-Identifier: Apache-2.0
"""What a handler makes of a task, and what is said where it makes nothing of it.

    >>> of_answer("214 tests").status
    'completed'
    >>> of_error(KeyError("shop")).summary
    'The task was not done: the handler failed with KeyError.'

Pure. What is stored of it, and whether it fits, `handoff.results` knows.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mcp_agentbus.handoff.reports.details import Details
from mcp_agentbus.store.task import ASKING, SUMMARY_MAX_CHARS, WORKER_ENDS

# It takes the next task, and this one goes to whoever is free.
_NO_ANSWER: Final = (
    "and no worker waits for an answer: it ends a task as rejected, with what it has to ask, and "
    "is sent another one with the answer"
)


@dataclass(frozen=True)
class Result:
    """How a task ended, as its handler says it.

    >>> Result(summary="2 of 214 tests fail", body=report, artifacts=("/srv/shop/report.html",))
    """

    #: `failed`: it was tried in vain; `rejected`: it is not for this worker, or needs a yes or an
    #: answer first.
    status: Literal["completed", "failed", "rejected"] = "completed"
    #: One paragraph for a reader in a hurry; at most 2,000 characters.
    summary: str = ""
    #: The result itself; at most 256 KiB of UTF-8.
    body: str = ""
    #: References (paths, URLs, commits), at most 50 of 1,024 characters. Nothing here opens them.
    artifacts: tuple[str, ...] = field(default=())

    @property
    def said(self) -> Details:
        """What is published with the status."""
        return {"summary": self.summary, "body": self.body, "artifacts": self.artifacts}


class NotBegun(Exception):
    """A task could not be begun, as its machine lacks something for now; it says what."""


def of_answer(answer: Any) -> Result:
    """Return what a handler has returned: a `Result`, or a text, which is the body of one."""
    if isinstance(answer, Result):
        if answer.status in WORKER_ENDS:
            return answer
        # Another word would keep the task, or withdraw it.
        why = f"the handler ended it as {answer.status!r:.40}"
        return not_done(f"{why}, {_NO_ANSWER}" if answer.status in ASKING else why)
    if isinstance(answer, str):
        return Result(body=answer)
    kind = type(answer).__name__
    if inspect.iscoroutine(answer):
        answer.close()  # else Python complains of it, wherever that may be
        return not_done(f"the handler returned a {kind} that it did not await")
    return not_done(f"the handler returned {kind}, which is no result")


def of_error(error: BaseException) -> Result:
    """Return what the sender is told of an exception: its kind, and nothing that it says."""
    return not_done(f"the handler failed with {type(error).__name__}")


def not_done(why: str) -> Result:
    """Return the end of a task of which nothing came, with the reason in this program's words."""
    return Result("failed", summary=f"The task was not done: {why}."[:SUMMARY_MAX_CHARS])
