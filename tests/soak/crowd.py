# SPDX-License-Identifier: Apache-2.0
"""Who works in a run, and where: all in one user's home, or each as one of three accounts.

configure(world, place)
world.actors += crowd(world)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import faults
from actors import Actor, World
from place import Place, environ
from sharing import ACCOUNTS, LAPTOP
from voices import Mcp, Python, Shell

# By account, whose inbox is looked at there; all else has the first.
_READERS = {"vps": "ana", "pi": "pia", LAPTOP: "cy"}
# Where agents are: two sessions of one, and a role that is read in two.
_AT = {
    "bo": "pi", "rae": "pi", "pia": "pi", "pat": "pi",
    "cy": LAPTOP, "sam": LAPTOP, "dee": LAPTOP, "wanda": LAPTOP,
}  # fmt: skip
_ROLES = {"rob": "pool", "rae": "pool"}


def settled(folder: Path, logs: Path) -> list[Place]:
    """Return a place for each account."""
    homes = {name: environ(folder / "accounts" / name, folder) for name in ACCOUNTS}
    return [Place(homes[name], logs, _READERS[name], name) for name in ACCOUNTS]


def place_of(world: World, agent: str) -> Place:
    """Return where an agent is."""
    where = _AT.get(agent, "")
    return next((place for place in world.places if place.account == where), world.place)


def configure(world: World, place: Place) -> None:
    """Write the `config.toml` of a place."""
    lines = ["[wake]", "per_sender_hour = 1000", "per_hour = 1000", "per_day = 10000"]
    for agent, role in _ROLES.items():
        if place_of(world, agent) is place:
            lines += [f"[agents.{agent}]", f'roles = ["{role}"]']
    if world.shared:  # of which an account's archive has what its own agents sent and received
        others = {"ana", "bo", "pia", "cy", "sam", "pat", "dee", "vic", "wes", faults.ACCOMPLICE}
        lines += [
            f"[agents.{agent}]" for agent in sorted(others) if place_of(world, agent) is place
        ]
    if place_of(world, "wanda") is place:
        woken, notes = Path(__file__).with_name("woken.py"), world.folder / "woken.jsonl"
        known = (str(notes), str(world.choices.seed), place.environ["PYTHONPATH"])
        command = [sys.executable, "-S", str(woken), *known]
        lines += [
            "[agents.wanda]", 'host = "command"', 'wake = "work"',
            f"dir = {json.dumps(str(world.folder / 'work'))}", f"command = {json.dumps(command)}",
        ]  # fmt: skip
    file = place.home / "config.toml"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + "\n")


def crowd(world: World) -> list[Actor]:
    """Everybody who works: two of one name, one alone, a shared role, shells, programs."""

    def at(agent: str) -> Place:
        return place_of(world, agent)

    actors = [
        Actor(world, Mcp("ana-1", "ana", at("ana")), ("ana",)),
        Actor(world, Mcp("ana-2", "ana", at("ana")), ("ana",)),
        Actor(world, Mcp("bo", "bo", at("bo"), alone=True), ("bo",)),
        Actor(world, Mcp("rob", "rob", at("rob")), ("rob", "role-pool")),
        Actor(world, Mcp("rae", "rae", at("rae")), ("rae", "role-pool")),
        Actor(world, Python("pia", "pia", at("pia")), ("pia",)),
        Actor(world, Shell("cy", "cy", at("cy")), ("cy",)),
        Actor(world, Mcp("sam", "sam", at("sam")), ("sam",), sends=True),
        Actor(world, Python("pat", "pat", at("pat")), ("pat",), sends=True),
        Actor(world, Shell("dee", "dee", at("dee")), ("dee",), sends=True),
        Actor(
            world,
            Shell(faults.ACCOMPLICE, faults.ACCOMPLICE, at(faults.ACCOMPLICE)),
            (faults.ACCOMPLICE,),
        ),
    ]
    if world.shared:
        actors.append(Actor(world, Mcp("vic", "vic", at("vic")), ("vic",), sends=True))
    return actors
