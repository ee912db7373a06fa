# SPDX-License-Identifier: Apache-2.0
"""Whether a shared server is durable: it tells nobody, and its owner's folder says it."""

from types import SimpleNamespace

import pytest
from local_server import settings_at

from mcp_agentbus.doctor import server


@pytest.mark.parametrize(
    ("conf", "state"),
    [
        ("jetstream {\n  sync_interval: always\n}", "ok"),
        ("jetstream {\n  sync_interval: 2m\n}", "wrong"),
        ("jetstream {\n  max_mem: 0 // sync_interval: always\n}", "wrong"),
        ("jetstream {\n  my_sync: always\n}", "wrong"),
        ("jetstream {\n  sync_interval: always  # as agentbus has it\n}", "ok"),
        ('jetstream { store_dir: "/bus", sync_interval: "always" }', "ok"),
        ("jetstream {\n  SYNC = Always;\n}", "ok"),
        ("jetstream {\n  sync_interval always\n}", "ok"),
        (None, "warning"),
    ],
)
@pytest.mark.parametrize("is_owner", [True, False])
def test_whoever_has_the_folder_of_a_server_is_told_by_its_configuration(
    tmp_path, conf, state, is_owner
):
    key = tmp_path / "admin.nk"
    key.write_text("seed")
    key.chmod(0o600)
    if conf is not None:
        key.with_name("nats.conf").write_text(conf)
    environ = {"AGENTBUS_NKEY_FILE": str(key)} if is_owner else {}
    settings = settings_at(tmp_path, AGENTBUS_URL="tls://127.0.0.1:4222", **environ)
    there = SimpleNamespace(
        url=settings.url, login=SimpleNamespace(what="the key", file=key)
    )  # fmt: skip

    _, found = server._shared(settings, there, [])

    assert (found.name, found.state) == ("durability", state if is_owner else "warning")
    assert bool(found.fix) is (found.state != "ok")
