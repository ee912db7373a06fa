# SPDX-License-Identifier: Apache-2.0
"""Write the tools' definitions anew: `python tests/protocol/renew.py`, then read the diff.

They are what a host gets from a real `agentbus serve` process, one file for each tool.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import served
from mcp_types import Tool

FOLDER = Path(__file__).with_name("tools")


def as_text(tool: Tool) -> str:
    """Return a definition as its file holds it."""
    data = _ordered(tool.model_dump(mode="json", by_alias=True, exclude_none=True))
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _ordered(value: Any) -> Any:
    """Sort what the eras order differently; the order of arguments is the model's."""
    if isinstance(value, list):
        return [_ordered(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: _ordered(one) for name, one in value[key].items()}
        if key == "properties"
        else _ordered(value[key])
        for key in sorted(value)
    }


async def _definitions() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as home:
        async with served.client(Path(home), "nobody", served.MODERN) as client:
            return {tool.name: as_text(tool) for tool in (await client.list_tools()).tools}


def main() -> None:
    for old in FOLDER.glob("*.json"):
        old.unlink()
    FOLDER.mkdir(exist_ok=True)
    for name, text in asyncio.run(_definitions()).items():
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
