# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code, woken to answer, in a folder and by a user who let far more happen."""

import asyncio
import contextlib
import json
import shlex
import subprocess
import sysconfig
import time
import uuid
from pathlib import Path

import pytest
from claude_user import KEY
from hostile_folder import INSTRUCTION, README, SECRET, Home
from listeners import configure, known, running, send
from local_server import script
from standin import ANSWERING, Standin

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay.starter import UNIT
from mcp_agentbus.wakes.ledger import Ledger

pytestmark = pytest.mark.node

WITHIN_S = 150  # only a hang takes as long
USERS_MODEL = "claude-users-1"
BUS_TOOLS = {f"mcp__agentbus__{name}" for name in (
    "send_task", "read_inbox", "watch_inbox", "list_agents", "publish_result")}  # fmt: skip
# What a user may have exported: of other programs, and of the session that starts the listener.
EXPORTED = {
    **dict.fromkeys(("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "MINE"), SECRET),
    "CLAUDECODE": "1",
    "CLAUDE_CODE_SESSION_ID": "s",
    "CLAUDE_CODE_ENTRYPOINT": "cli",
}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


class Woken:
    """A user's two ways to have a listener, on whose PATH `claude` notes its environment."""

    def __init__(self, claude, home, settings, **variables):
        self.home, self.settings = home, settings
        self.noted = home.root / "environ"
        noting = f"env > {shlex.quote(str(self.noted))}"
        bin_ = home.root / "bin"
        bin_.mkdir()
        script(bin_ / "claude", noting, f'exec {shlex.quote(str(claude / "claude"))} "$@"')
        script(bin_ / "systemctl", "exit 0")
        script(bin_ / "launchctl", "exit 0")
        self.environ = {
            # As `direnv`, a venv or `npm run` have it, within the folder; and as some type it.
            "PATH": f":.:./bin:{home.named}/bin:{home.folder}/bin:{bin_}:/usr/bin:/bin",
            "HOME": str(home.root),
            "AGENTBUS_HOME": str(settings.data_dir.parent),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **variables,
        }
        self.agentbus = str(Path(sysconfig.get_path("scripts")) / "agentbus")

    def terminal(self):
        """Return how a terminal in that folder starts it, with all that its user has exported."""
        return [self.agentbus, "listen"], {**self.environ, **EXPORTED}, self.home.folder

    def unit(self):
        """Return how systemd starts it: by the unit that `listen --install` writes."""
        argv = [self.agentbus, "listen", "--install"]
        environ = {**self.environ, **EXPORTED}
        subprocess.run(
            argv,
            env=environ,
            cwd=self.home.folder,
            check=True,
            timeout=WITHIN_S,
            capture_output=True,
        )
        lines = (self.home.root / ".config/systemd/user" / UNIT).read_text().splitlines()
        given = [line.partition("=") for line in lines]
        [command] = [value for name, _, value in given if name == "ExecStart"]
        words = [shlex.split(value)[0] for name, _, value in given if name == "Environment"]
        managers = {"HOME": str(self.home.root), "PATH": "/usr/bin:/bin", "INVOCATION_ID": "1"}
        return shlex.split(command), managers | dict(w.split("=", 1) for w in words), Path("/")


async def woken(claude, home, model, start, *, resumes="", **variables):
    """Have the agent of that folder woken by a peer's task; return what came back."""
    with embedded.ephemeral() as settings:
        rules = {"host": "claude-code", "wake": "answer", "max_turns": 300, "max_usd": 9.0}
        configure(settings, home.named, coder=rules)
        with contextlib.closing(Ledger(settings.ledger_file)) as ledger:
            ledger.remember("coder", resumes)
        user = Woken(claude, home, settings, ANTHROPIC_BASE_URL=model.url, **variables)
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            running(*start(user)) as listener,
        ):
            await known(planner, "coder")
            await send(planner, "coder")
            result = await watch_inbox(planner, timeout_s=WITHIN_S)
            await listener.logged("ended", agent="coder")
    assert SECRET not in user.noted.read_text()
    return [one.summary for one in result.results]


@pytest.mark.parametrize(("start", "trusted"), [(Woken.terminal, True), (Woken.unit, False)])
async def test_it_reads_its_folder_and_answers_and_nothing_else_happens(
    claude, home, start, trusted
):
    if trusted:
        home.trust()
    home.write(".claude/settings.json", env={"ANTHROPIC_API_KEY": KEY}, model=USERS_MODEL)
    attempts, before = home.attempts(), home.files()
    at_once = [attempts[first : first + 8] for first in range(0, len(attempts), 8)]
    with Standin([*at_once, *ANSWERING]) as model:
        answered = await woken(claude, home, model, start)

    assert answered == ["done"]
    assert list(home.ran.iterdir()) == []  # no hook, no server but ours, no code of the folder
    assert home.files() == before
    told = results(model.shown[-1]["messages"])
    kept = (SECRET, INSTRUCTION, "root:x:0")
    leaks = [one for n, one in enumerate(attempts) if any(map(told[n].count, kept))]
    assert not leaks, "\n".join(map(str, leaks))
    searched, read = (told[len(attempts) - n] for n in (2, 1))
    assert README in searched
    assert README in read
    # Nor beside the answers of its tools, where instructions, memory and settings would be.
    shown = json.dumps([without_results(request) for request in model.shown])
    assert [word for word in kept if word in shown] == []
    assert {request["model"] for request in model.shown}.isdisjoint({"the-folders"})
    offered = {tool["name"] for request in model.shown for tool in request["tools"]}
    assert offered - {"DeferredToolPlaceholder"} == {"Read", "Glob", "Grep"} | BUS_TOOLS
    assert_its_users(model)


async def test_no_plugin_of_its_users_runs(claude, home):
    market, word = home.root / "market", "zq9plugin"
    plugin = {"name": "mine", "version": "1.0.0", "description": word}
    listed = {"name": "market", "owner": {"name": "me"}, "plugins": [{**plugin, "source": "./"}]}
    server = {"command": "sh", "args": ["-c", f"touch {home.ran}/plugin-server; cat"]}
    skill = f"---\nname: mine\ndescription: {word}\n---\n{word}\n"
    for name, content in {
        ".claude-plugin/plugin.json": json.dumps(plugin),
        ".claude-plugin/marketplace.json": json.dumps(listed),
        "hooks/hooks.json": json.dumps({"hooks": home.hooks("plugin")}),
        ".mcp.json": json.dumps({"mcpServers": {"mine": server}}),
        **dict.fromkeys(("skills/mine/SKILL.md", "agents/mine.md", "commands/mine.md"), skill),
    }.items():
        (market / name).parent.mkdir(parents=True, exist_ok=True)
        (market / name).write_text(content)
    config = {"CLAUDE_CONFIG_DIR": str(home.root / "conf")}

    async def typed(*argv, **variables):
        environ = {
            "HOME": str(home.root), "PATH": "/usr/bin:/bin",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **config, **variables,
        }  # fmt: skip
        await asyncio.to_thread(
            subprocess.run, [str(claude / "claude"), *argv], input=b"Go.", env=environ,
            cwd=home.elsewhere, check=True, timeout=WITHIN_S, capture_output=True,
        )  # fmt: skip

    await typed("plugin", "marketplace", "add", str(market))
    await typed("plugin", "install", "mine@market")
    # Not before: it would ask Anthropic, and wait for that where there is no network.
    home.write("conf/settings.json", env={"ANTHROPIC_API_KEY": KEY})
    with Standin() as model:  # a session that its user starts has all of it
        await typed("-p", ANTHROPIC_BASE_URL=model.url)
    assert {file.name for file in home.ran.iterdir()} == {"plugin-hook", "plugin-server"}
    assert word in json.dumps(model.shown)
    for file in home.ran.iterdir():
        file.unlink()

    with Standin(ANSWERING) as model:
        answered = await woken(claude, home, model, Woken.terminal, **config)

    assert answered == ["done"]
    assert list(home.ran.iterdir()) == []
    assert word not in json.dumps(model.shown)


async def test_it_goes_on_with_no_conversation_that_had_more_rights(claude, home):
    home.write(".claude/settings.json", env={"ANTHROPIC_API_KEY": KEY})
    earlier, written = str(uuid.uuid4()), home.elsewhere / "written"
    deeds = [
        ("Read", {"file_path": str(home.outside)}),
        ("Write", {"file_path": str(written), "content": "x"}),
    ]
    rights = ["--add-dir", str(home.elsewhere), "--permission-mode", "acceptEdits"]
    rights += ["--setting-sources", "user", "--allowedTools", "Read", "Write", "Bash"]
    argv = [str(claude / "claude"), "-p", "--session-id", earlier, "--strict-mcp-config", *rights]
    with Standin(deeds) as model:
        environ = {
            "HOME": str(home.root), "PATH": "/usr/bin:/bin", "ANTHROPIC_BASE_URL": model.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }  # fmt: skip
        await asyncio.to_thread(
            subprocess.run, argv, input=b"Go.", env=environ, cwd=home.folder, check=True,
            timeout=WITHIN_S, capture_output=True,
        )  # fmt: skip
    assert SECRET in json.dumps(model.shown[-1])
    written.unlink()
    for file in home.ran.iterdir():  # what its own user's hooks have run
        file.unlink()

    with Standin([*deeds, *ANSWERING]) as model:
        answered = await woken(claude, home, model, Woken.unit, resumes=earlier)

    assert answered == ["done"]
    assert SECRET not in json.dumps(model.shown)
    assert not written.exists()
    assert list(home.ran.iterdir()) == []


def results(messages):
    """Return what each tool call came to, by the number of the call."""
    contents = [one["content"] for one in messages if isinstance(one["content"], list)]
    blocks = [block for content in contents for block in content]
    return {
        int(block["tool_use_id"].removeprefix("toolu_")): json.dumps(block["content"])
        for block in blocks
        if block["type"] == "tool_result"
    }


def without_results(request):
    """Return all of a request but what its model has called, and what its tools have answered."""
    messages = [
        block
        for message in request["messages"]
        for block in (message["content"] if isinstance(message["content"], list) else [message])
        if block.get("type") not in {"tool_use", "tool_result"}
    ]
    return {**request, "messages": messages}


def assert_its_users(model):
    """It is logged in as its user, and asks the model that its user has chosen."""
    sent = model.headers[0]
    assert KEY in {sent.get("x-api-key"), sent.get("authorization", "").removeprefix("Bearer ")}
    assert model.shown[0]["model"] == USERS_MODEL


def by_helper(home):
    helper = f"env > {home.root}/helped; echo {KEY}"
    home.write(".claude/settings.json", apiKeyHelper=helper, model=USERS_MODEL)


def by_file(home):
    login = {
        "accessToken": KEY, "refreshToken": "r", "scopes": ["user:inference"],
        "expiresAt": int(time.time() * 1000) + 3_600_000, "subscriptionType": "max",
    }  # fmt: skip
    home.write("conf/.credentials.json", claudeAiOauth=login)
    home.write("conf/settings.json", model=USERS_MODEL, hooks=home.hooks("user"))
    return {"CLAUDE_CONFIG_DIR": str(home.root / "conf")}


def by_environment(home):
    home.write(".claude/settings.json", model=USERS_MODEL)
    return {"ANTHROPIC_AUTH_TOKEN": KEY}


@pytest.mark.parametrize(
    ("login", "start"),
    [
        (by_environment, Woken.terminal),
        (by_helper, Woken.unit),
        (by_file, Woken.unit),
    ],
)
async def test_it_stays_logged_in_and_has_its_users_model(claude, home, login, start):
    variables = login(home) or {}
    with Standin(ANSWERING) as model:
        answered = await woken(claude, home, model, start, **variables)

    assert answered == ["done"]
    assert_its_users(model)
    assert list(home.ran.iterdir()) == []
    if login is by_helper:
        assert SECRET not in (home.root / "helped").read_text()
