# SPDX-License-Identifier: Apache-2.0
"""What may be said with a status, and what of it is refused.

>>> checked("working", {"progress": 40})["progress"]
40
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from mcp_agentbus.core import text
from mcp_agentbus.errors import BadInput
from mcp_agentbus.store.steps import in_one
from mcp_agentbus.store.task import (
    ARTIFACT_MAX_CHARS,
    ARTIFACTS_MAX,
    ASKING,
    RESULT_MAX_BYTES,
    STATUSES,
    SUMMARY_MAX_CHARS,
    Status,
)


class Details(TypedDict, total=False):
    """What may be said with a status."""

    #: One paragraph for a reader in a hurry; at most 2,000 characters.
    summary: str
    #: The result itself; at most 256 KiB of UTF-8.
    body: str
    #: References: paths, URLs, commits. Nothing here opens them.
    artifacts: Sequence[str]
    #: Percent done, 0 to 100.
    progress: float | None


def checked(status: Status, details: Details) -> dict[str, Any]:
    """Return all that is said with a status, by the fields of a record.

    Raises:
        BadInput: it is no status, a value breaks its rule, it is none of the details, or a question
            asks nothing; nothing is cut.
    """
    text.check_keywords(details, Details, "publish_result")
    if status not in STATUSES:
        raise BadInput(f"{status!r} is no status.", hint=f"Use one of {', '.join(STATUSES)}.")
    summary = text.check_text(details.get("summary", ""), "summary")
    if len(summary) > SUMMARY_MAX_CHARS:
        raise BadInput(
            f"The summary has {len(summary):,} characters; the limit is {SUMMARY_MAX_CHARS:,}.",
            hint="Shorten it and put the rest into the body.",
        )
    artifacts = text.check_texts(details.get("artifacts", ()), "artifact")
    if len(artifacts) > ARTIFACTS_MAX or any(map(_is_long, artifacts)):
        raise BadInput(
            "There are too many artifacts, or one is too long.",
            hint=f"Give at most {ARTIFACTS_MAX} references of {ARTIFACT_MAX_CHARS:,} characters.",
        )
    for artifact in artifacts:
        text.check_size(artifact, "artifact", ARTIFACT_MAX_CHARS * 4)
    body = text.check_size(details.get("body", ""), "body", RESULT_MAX_BYTES)
    said = {"summary": summary, "body": body, "artifacts": artifacts}
    if status in ASKING and not in_one(said).strip():
        raise BadInput(
            "The question is empty. Nothing was stored.", hint="Say it in the summary or the body."
        )
    progress = details.get("progress")
    if progress is not None:
        text.check_number(progress, "progress", 0, 100, hint="Give percent done, 0 to 100.")
    return {
        "summary": text.check_size(summary, "summary", SUMMARY_MAX_CHARS * 4),
        "body": body,
        "artifacts": artifacts,
        "progress": progress,
    }


def _is_long(artifact: str) -> bool:
    return len(artifact) > ARTIFACT_MAX_CHARS
