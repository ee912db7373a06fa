# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code, woken to answer, in a folder and by a user who let far more happen."""

import json
import os
import subprocess
import time

import pytest
from claude_user import KEY
from listeners import configure, known, listening, send
from standin import ANSWERING, Standin

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.session import Session

pytestmark = pytest.mark.node

SECRET = "zq9secret"
SECRETS = (
    *(".env", ".env.local", ".envrc", ".npmrc", ".netrc", ".pypirc", ".git-credentials"),
    *(".git/config", "lib/.env", "lib/.ENV", "id_ed25519", "server.key", "ca.pem", "secrets.yaml"),
)
LINKS = ("link", "linked/outside", "linked-env", "hard", "hard-env")


class Home:
    """A user with a broad allow rule and a hook of their own, and a folder with all of that."""

    def __init__(self, root):
        self.root, self.folder, self.config = root, root / "shop", root / ".claude"
        self.ran = root / "ran"
        for folder in (self.config, self.folder / ".claude", self.folder / "lib", self.ran):
            folder.mkdir(parents=True)
        subprocess.run(["git", "init", "--quiet", self.folder], check=True)
        self._fill()
        rules = {"allow": ["Read(//**)", "Bash(*)"], "additionalDirectories": [str(root)]}
        self.write(".claude/settings.json", permissions=rules, hooks=self._hook("user"))
        self.write(
            "shop/.claude/settings.json",
            permissions=rules,
            hooks=self._hook("folder"),
            env={"ANTHROPIC_MODEL": "the-folders", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"},
            enableAllProjectMcpServers=True,
        )
        server = {"command": "/usr/bin/touch", "args": [str(self.ran / "mcp")]}
        self.write("shop/.mcp.json", mcpServers={"theirs": server})
        self.write(".claude.json", mcpServers={"theirs": server})
        # Where Claude Code keeps the sessions of a folder, by its path.
        slug = "".join(letter if letter.isalnum() else "-" for letter in str(self.folder))
        self.sessions = self.config / "projects" / slug
        (self.sessions / "memory").mkdir(parents=True)
        for name in ("old.jsonl", "memory/MEMORY.md"):
            (self.sessions / name).write_text(SECRET)

    def _fill(self):
        for name in SECRETS:
            (self.folder / name).write_text(f"{SECRET}\n")
        outside = self.root / "elsewhere"
        outside.mkdir()
        (outside / "outside").write_text(f"{SECRET}\n")
        (self.folder / "link").symlink_to(outside / "outside")
        (self.folder / "linked").symlink_to(outside)
        (self.folder / "linked-env").symlink_to(".env")
        os.link(outside / "outside", self.folder / "hard")
        os.link(self.folder / ".env", self.folder / "hard-env")
        (self.folder / "README").write_text("zq9readme\n")
        (self.folder / "CLAUDE.md").write_text(f"zq9instruction\n@{outside}/outside\n")

    def _hook(self, whose):
        command = {"type": "command", "command": f"touch {self.ran}/{whose}"}
        return {name: [{"hooks": [command]}] for name in ("SessionStart", "PreToolUse", "Stop")}

    def write(self, name, **content):
        file = self.root / name
        old = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**old, **content}))

    def trust(self):
        self.write(".claude.json", projects={str(self.folder): {"hasTrustDialogAccepted": True}})

    def reads(self):
        """Return a tool call for each way to a secret, and last one for what may be read."""
        root, folder = self.root, self.folder
        paths = [folder / name for name in (*SECRETS, *LINKS)]
        paths += [root / ".claude.json", self.config / "settings.json", root / "elsewhere/outside"]
        paths += [self.sessions / "old.jsonl", self.sessions / "memory" / "MEMORY.md"]
        calls = [("Read", {"file_path": str(path)}) for path in paths]
        calls += [
            ("Grep", {"pattern": "zq9s", "output_mode": "content", "path": str(path)})
            for path in (root, folder, self.sessions, *(folder / name for name in (".env", *LINKS)))
        ]
        calls += [("Grep", {"pattern": "zq9s", "output_mode": "content", "glob": glob})
                  for glob in ("**", ".*", ".env", "**/.env*", "lib/*", "!README", ".git/**")]  # fmt: skip
        calls += [("Glob", {"pattern": "*", "path": str(root / "elsewhere")})]
        return [*calls, ("Read", {"file_path": str(folder / "README")})]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


async def woken(claude, home, model, **variables):
    """Have the agent of that folder woken by a real listener; return what came back."""
    environ = {
        "PATH": f"{claude}:/usr/bin:/bin",
        "HOME": str(home.root),
        "ANTHROPIC_BASE_URL": model.url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        **variables,
    }
    with embedded.ephemeral() as settings:
        rules = {"host": "claude-code", "wake": "answer", "max_turns": 200, "max_usd": 9.0}
        configure(settings, home.folder, coder=rules)
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(settings, **environ) as listener,
        ):
            await known(planner, "coder")
            await send(planner, "coder")
            result = await watch_inbox(planner, timeout_s=60)
            await listener.logged("ended", agent="coder")
    return [one.summary for one in result.results]


@pytest.mark.parametrize("trusted", [True, False])
async def test_it_reads_its_folder_and_answers_and_nothing_else_happens(claude, home, trusted):
    if trusted:
        home.trust()
    reads = home.reads()
    with Standin([*reads, *ANSWERING]) as model:
        answered = await woken(claude, home, model, ANTHROPIC_API_KEY=KEY)

    assert answered == ["done"]
    assert list(home.ran.iterdir()) == []  # no hook, no server but ours
    first, last = json.dumps(model.shown[0]), json.dumps(model.shown[-1]["messages"])
    assert "zq9" not in first  # neither instructions nor memory
    assert "zq9readme" in last
    told = results(model.shown[-1]["messages"])[: len(reads)]
    assert len(told) == len(reads)
    assert [call for call, said in zip(reads, told, strict=True) if SECRET in said] == []
    assert {request["model"] for request in model.shown}.isdisjoint({"the-folders"})


def results(messages):
    """Return what each tool call came to, oldest first."""
    contents = [one["content"] for one in messages if isinstance(one["content"], list)]
    blocks = [block for content in contents for block in content]
    return [json.dumps(block["content"]) for block in blocks if block["type"] == "tool_result"]


def by_settings(home):
    home.write(".claude/settings.json", env={"ANTHROPIC_API_KEY": KEY}, model="claude-users-1")


def by_helper(home):
    helper = f"env > {home.root}/environ; echo {KEY}"
    home.write(".claude/settings.json", apiKeyHelper=helper, model="claude-users-1")


def by_file(home):
    login = {
        "accessToken": KEY, "refreshToken": "r", "scopes": ["user:inference"],
        "expiresAt": int(time.time() * 1000) + 3_600_000, "subscriptionType": "max",
    }  # fmt: skip
    home.write(".claude/.credentials.json", claudeAiOauth=login)
    home.write(".claude/settings.json", model="claude-users-1")


def by_environment(home):
    home.write(".claude/settings.json", model="claude-users-1")
    return {"ANTHROPIC_AUTH_TOKEN": KEY}


@pytest.mark.parametrize("login", [by_environment, by_settings, by_helper, by_file])
async def test_it_stays_logged_in_and_has_its_users_model(claude, home, login):
    # As by a session, in a terminal whose user has much exported.
    around = {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "s", "GITHUB_TOKEN": SECRET}
    variables = around | (login(home) or {})
    with Standin(ANSWERING) as model:
        answered = await woken(claude, home, model, **variables)

    assert answered == ["done"]
    sent = model.headers[0]
    assert KEY in {sent.get("x-api-key"), sent.get("authorization", "").removeprefix("Bearer ")}
    assert model.shown[0]["model"] == "claude-users-1"
    assert list(home.ran.iterdir()) == []
    if login is by_helper:
        assert SECRET not in (home.root / "environ").read_text()
