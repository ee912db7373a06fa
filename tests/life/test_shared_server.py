# SPDX-License-Identifier: Apache-2.0
"""A server for several machines, as `agentbus server config` has it: a real one, with its token."""

import asyncio
import math
import subprocess

import pytest
from local_server import settings_at

from mcp_agentbus.bus import server_conf
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import program
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session


async def test_a_task_goes_from_one_machine_to_another(shared):
    async with (
        Bus.connect(shared) as here,
        Bus.connect(shared) as there,
        Session(here, Agent("planner")) as planner,
        Session(there, Agent("coder")) as coder,
    ):
        await read_inbox(coder)
        [receipt] = await send_task(planner, "coder", "Count", "the tests")
        [item] = (await read_inbox(coder)).tasks

    assert item.task.id == receipt.task_id


async def test_with_its_token_one_machine_is_whom_it_likes_and_reads_what_is_anothers(shared):
    async with (
        Bus.connect(shared) as here,
        Bus.connect(shared) as there,
        Session(here, Agent("planner")) as planner,
        Session(there, Agent("planner")) as another,
        Session(there, Agent("coder")) as coder,
    ):
        await read_inbox(planner)
        await send_task(coder, "planner", "For the first", "x")
        [item] = (await read_inbox(another)).tasks

    assert item.task.subject == "For the first"


async def test_whoever_has_another_token_is_told_so(shared):
    await asyncio.to_thread(shared.token_file.write_text, "of-somebody-else\n")
    async with Bus(shared) as bus, Session(bus, Agent("planner")) as planner:
        with pytest.raises(NotAllowed, match="does not take the token in"):
            await planner.called()


def test_it_waits_for_the_disk_and_holds_no_secret():
    text = server_conf.shared("127.0.0.1:4222", '/a "b"')

    assert "sync_interval: always" in text
    assert 'store_dir: "/a \\"b\\""' in text
    assert f"${server_conf.TOKEN_VARIABLE} " in text


@pytest.mark.parametrize("token", ["7m", "1234", "9d0c"])
def test_as_its_comment_gives_the_token_the_server_takes_it_whatever_it_looks_like(tmp_path, token):
    conf = server_conf.shared("127.0.0.1:4222", str(tmp_path / "store"))
    (tmp_path / "agentbus.conf").write_text(conf)
    [line] = [
        line.removeprefix("#").split() for line in conf.split("\n") if " nats-server " in line
    ]
    variable, _, given = line[0].partition("=")
    assert (given, line[1:]) == ("'\"...\"'", ["nats-server", "-c", "agentbus.conf"])
    environ = {variable: given.strip("'").replace("...", token)}

    command = [program.binary(settings_at(tmp_path)), "-t", *line[2:]]
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("listen", "more", "said"),
    [
        ("0.0.0.0:4222", {}, "in plain text"),
        ("0.0.0.0:4222", {"cert": "c.pem"}, "both files"),
        ("0.0.0.0:4222", {"allow_plaintext": True}, "in plain text"),
        ("8.8.8.8:4222", {"allow_plaintext": True}, "in plain text"),
        ("100.64.0.7:4222", {}, "--allow-plaintext"),
        ("4222", {}, "no HOST:PORT"),
        ("127.0.0.1:0", {}, "no HOST:PORT"),
        ("127.0.0.1:4222", {"max_gib": 0}, "needs room"),
        ("127.0.0.1:4222", {"max_gib": 1e-9}, "needs room"),
        ("127.0.0.1:4222", {"max_gib": math.nan}, "needs room"),
        ("127.0.0.1:4222", {"max_gib": math.inf}, "needs room"),
        ("127.0.0.1:4222", {"max_gib": 1e10}, "needs room"),
    ],
)
def test_what_would_be_open_or_makes_no_sense_is_refused(listen, more, said):
    with pytest.raises(BadInput, match=said):
        server_conf.shared(listen, "/store", **more)


def test_with_tls_it_may_listen_everywhere():
    text = server_conf.shared("0.0.0.0:4222", "/store", cert="c.pem", key="k.pem")

    assert 'tls { cert_file: "c.pem", key_file: "k.pem" }' in text
    assert "AGENTBUS_URL=tls://" in text


@pytest.mark.parametrize("listen", ["100.64.0.7:4222", "[fd7a:115c:a1e0::7]:4222"])
def test_on_a_private_network_that_encrypts_it_may_listen_without(listen):
    text = server_conf.shared(listen, "/store", allow_plaintext=True)

    assert f'listen: "{listen}"' in text
    assert "besides allow_plaintext = true" in text
    assert "tls" not in text
    assert "allow_plaintext" not in server_conf.shared("[::1]:4222", "/store")
