# SPDX-License-Identifier: Apache-2.0
"""A handler that would ask and wait is told what a worker does instead."""

import pytest

from mcp_agentbus.store.task import SUMMARY_MAX_CHARS
from mcp_agentbus.work.result import Result, of_answer


@pytest.mark.parametrize("status", ["needs_input", "needs_approval"])
def test_a_question_is_no_end_and_what_is_one_is_said(status):
    told = of_answer(Result(status, summary="Which branch?"))

    assert told.status == "failed"
    assert told.summary == (
        f"The task was not done: the handler ended it as '{status}', and no worker waits for an "
        "answer: it ends a task as rejected, with what it has to ask, and is sent another one with "
        "the answer."
    )
    assert len(told.summary) < SUMMARY_MAX_CHARS


def test_a_question_may_be_what_a_task_is_rejected_with():
    asked = Result("rejected", summary="Which branch?")

    assert of_answer(asked) is asked
