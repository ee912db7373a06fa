# SPDX-License-Identifier: Apache-2.0
"""What whoever runs a shared server does about its accounts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_server import made_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent, inbox_of
from mcp_agentbus.errors import BadInput, Refused
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared.accounts import admin, owner, store
from mcp_agentbus.shared.accounts.apply import apply
from mcp_agentbus.shared.accounts.record import AccountRecord
from mcp_agentbus.shared.membership.invitation import decode
from mcp_agentbus.shared.server_files import Files
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.records import read_record


@pytest.fixture
def folder(tmp_path):
    with made_server(tmp_path / "bus") as made:
        yield made.files.folder


@pytest.fixture
async def bus(folder):
    async with Bus.connect(admin.settings(folder)) as bus:
        yield bus


async def joined(bus, folder, name, **more):
    """Have an account that has joined."""
    now = text.now()
    public = Nkey(new_seed()).public
    await store.ensure(bus)
    await store.put(bus, AccountRecord(name=name, key=public, joined_at=now, since=now, **more), 0)
    await apply(bus, folder)


async def of_account(bus, agent, account):
    """Have an agent's registration be an account's, as the gate writes it."""
    [stored] = await bus.many(
        subjects.AGENTS, {"seq": 1, "batch": 1, "next_by_subj": subjects.profile_subject(agent)}
    )
    profile = roster.decode_profile(stored).model_copy(update={"account": account})
    await bus.replace(
        subjects.AGENTS, stored.subject, profile.model_dump_json().encode(), stored.seq
    )


async def test_an_invitation_is_a_line_that_says_all_and_is_kept_without_its_secret(bus, folder):
    invited = await owner.invite(bus, folder, "laptop", roles=["review", "review"], for_s=60)
    line = decode(invited.line)
    [listed] = await owner.standing(bus, folder)
    [kept] = await bus.many(store.STREAM, {"seq": 1, "batch": 1, "next_by_subj": ">"})

    assert line.name == "laptop"
    assert line.urls[0].startswith("tls://")
    assert "BEGIN CERTIFICATE" in line.ca_pem
    assert line.secret.encode() not in kept.data
    assert line.secret not in repr(invited)
    assert listed.account is None
    assert [each.id for each in listed.invitations] == [line.id]
    assert invited.invitation.roles == ("review",)


async def test_an_invitation_by_a_lobby_s_key_that_was_replaced_is_listed_no_more(bus, folder):
    await owner.invite(bus, folder, "laptop")
    before = await owner.standing(bus, folder)
    Files(folder).lobby.write_text(new_seed())

    assert ([each.name for each in before], await owner.standing(bus, folder)) == (["laptop"], [])


async def test_what_makes_no_sense_is_refused_with_what_does(bus, folder):
    await joined(bus, folder, "laptop")
    with pytest.raises(BadInput, match="no name"):
        await owner.invite(bus, folder, "Laptop")
    with pytest.raises(BadInput, match="not a role"):
        await owner.invite(bus, folder, "pi", roles=["a.b"])
    with pytest.raises(Refused, match="already") as there:
        await owner.invite(bus, folder, "laptop")
    with pytest.raises(BadInput, match="no account pi"):
        await owner.remove(bus, folder, "pi")
    await owner.remove(bus, folder, "laptop")
    with pytest.raises(Refused, match="was removed"):
        await owner.rotate(bus, folder, "laptop")

    assert "rotate laptop" in there.value.hint
    assert (await owner.invite(bus, folder, "laptop")).line


async def test_roles_come_and_go_and_who_was_removed_comes_back_with_its_key(bus, folder):
    await joined(bus, folder, "laptop", roles=("a",))
    before, _ = await store.account(bus, "laptop")
    granted = await owner.grant(bus, folder, "laptop", roles=["b", "a"], no_roles=["c"])
    less = await owner.grant(bus, folder, "laptop", no_roles=["a"])
    await roster.register(bus, Agent("coder"), None)
    await of_account(bus, "coder", "laptop")
    await owner.remove(bus, folder, "laptop")
    [removed] = await owner.standing(bus, folder)
    gone = await roster.look(bus, "coder")
    had = [(await owner.invite(bus, folder, "laptop", roles=each)).had for each in ([], ["b"])]
    back = await owner.readmit(bus, folder, "laptop")

    assert (granted.roles, less.roles) == (("a", "b"), ("b",))
    assert (removed.account.state, removed.connections) == ("removed", 0)
    assert had == ["--role b", ""]
    assert (back.state, back.key) == ("joined", before.key)
    assert (gone.state, (await roster.look(bus, "coder")).state) == ("removed", "never seen")
    assert await apply(bus, folder) == {"laptop"}


async def test_a_role_that_is_taken_away_goes_off_the_roster_too_of_that_account_alone(bus, folder):
    for account in ("laptop", "vps"):
        await joined(bus, folder, account, roles=("lead", "qa"))
        await roster.register(bus, Agent(f"of-{account}", roles=("lead", "qa")), None)
        await of_account(bus, f"of-{account}", account)

    for _ in range(2):  # the second time it is the owner's word already
        await owner.grant(bus, folder, "laptop", no_roles=["lead"])

        kept = {each.id: each.roles for each in await roster.everybody(bus)}
        assert kept == {"of-laptop": ("qa",), "of-vps": ("lead", "qa")}
        theirs = await roster.registration(bus, "of-laptop")
        await roster.register(bus, Agent("of-laptop", roles=("lead", "qa")), None)
        await of_account(bus, "of-laptop", "laptop")
        assert (theirs.account, theirs.accept_from) == ("laptop", ("*",))


async def test_a_key_that_is_withdrawn_at_once_lets_nobody_in_until_there_is_another(bus, folder):
    await joined(bus, folder, "laptop")
    later = await owner.rotate(bus, folder, "laptop")
    before = await apply(bus, folder)
    at_once = await owner.rotate(bus, folder, "laptop", now=True)

    assert (before, await apply(bus, folder)) == ({"laptop"}, frozenset())
    assert later.invitation.replaces
    assert at_once.invitation.replaces


@pytest.mark.parametrize(
    ("state", "hint"),
    [("joined", "another: agentbus server rotate laptop{of}"),
     ("removed", "again: agentbus server invite laptop{of}"),
     ("cut-off", "again: agentbus server remove laptop{of} && agentbus server invite laptop{of}")],
)  # fmt: skip
async def test_whoever_has_no_key_that_counts_is_let_in_by_what_every_refusal_says(
    bus, folder, state, hint
):
    await joined(bus, folder, "laptop")
    account, revision = await store.account(bus, "laptop")
    await store.put(bus, replace(account, key="", state=state), revision)
    refused = [owner.readmit(bus, folder, "laptop")]
    if state != "joined":
        refused.append(owner.rotate(bus, folder, "laptop"))
    if state == "cut-off":
        refused.append(owner.invite(bus, folder, "laptop"))

    for each in refused:
        with pytest.raises(Refused) as said:
            await each
        assert said.value.hint.endswith(hint.format(of=f" --dir {folder}"))
    if state == "cut-off":
        await owner.remove(bus, folder, "laptop")
    let_in = owner.rotate if state == "joined" else owner.invite
    assert (await let_in(bus, folder, "laptop")).line


@pytest.mark.parametrize("give_back", [False, True])
async def test_what_waits_for_who_was_removed_is_kept_or_given_back(bus, folder, give_back):
    await joined(bus, folder, "laptop")
    async with (
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("coder", roles=("review",))) as coder,
        Session(bus, Agent("other")) as other,
    ):
        for each in (coder, other):
            await read_inbox(each)
        await of_account(bus, "coder", "laptop")
        ids = {}
        for name, to, more in (
            ("of a role", "role:review", {}), ("held", "coder", {}), ("waits", "coder", {}), ("later", "coder", {"deliver_in_s": 99}),
            ("others", "other", {}),
        ):  # fmt: skip
            [receipt] = await send_task(planner, to, name, "x", **more)
            ids[name] = (inbox_of(to), receipt.task_id)
            if name == "held":
                await read_inbox(coder)
        removed = await owner.remove(bus, folder, "laptop", give_back=give_back)
        records = {
            name: (await read_record(bus, "planner", to, task_id))[0]
            for name, (to, task_id) in ids.items()
        }
        [answer, *_] = [*(await read_inbox(planner)).results, None]
    stored = (await bus.api(f"STREAM.INFO.{subjects.TASKS}"))["state"]["messages"]
    states = {name: record.state if record else "stored" for name, record in records.items()}

    ends = dict.fromkeys(("held", "waits", "later"), "rejected")
    kept = {"held": "claimed", "waits": "stored", "later": "stored"}
    assert states == {"others": "stored", "of a role": "stored", **(ends if give_back else kept)}
    assert (removed.given_back, removed.offered) == (3 * give_back, 1)
    assert removed.still_in == ()
    assert stored == (2 if give_back else 4)
    if give_back:
        assert "the account laptop, whose agent it was for, was removed" in answer.reason
