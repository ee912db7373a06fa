# SPDX-License-Identifier: Apache-2.0
"""Mutants that no test can notice, or need notice: what is broken, and why that is nothing."""

#: By `Mutant.key`: the file, the line as it stands, and what becomes of it.
LEFT: dict[str, str] = {
    "mcp_agentbus/handoff/send.py: wanted = _Wanted(addresses, draft, request_id or "
    "secrets.token_hex(16), request_id is not None): it is 17": "Nobody foresees the one or the other.",
    "mcp_agentbus/handoff/dispatch/addressees.py: near = difflib.get_close_matches(address, known, "
    "n=_NEAREST_MAX, cutoff=_NEAR): it is not told `n`": "Without it there are 3 as well.",
    "mcp_agentbus/handoff/dispatch/addressees.py: at, known = self._entries.get(addressee.inbox, (0.0, None)): "
    "it is 1.0": "Of whom nothing was said, nobody asks when.",
    'mcp_agentbus/handoff/reports/details.py: text.check_size(artifact, "artifact", '
    "ARTIFACT_MAX_CHARS * 4): it is 5": "No character has more than 4 bytes in UTF-8.",
    "mcp_agentbus/store/upkeep/copiers.py: start, total = start + max(1, len(infos)), "
    'int(answer.get("total", 0)): it is 1': "After a page it goes on from 1 or more: a total of "
    "none and of 1 are both its end.",
    'mcp_agentbus/store/queries/pulls.py: beyond = {"seq": last + 1, "batch": 1, "next_by_subj": '
    "consumer.subject}: it is 2": "Of what is returned the first alone is looked at.",
    "mcp_agentbus/store/upkeep/lost.py: if sent.created_at < before and not (sent.closed or "
    "sent.unasked): it compares by `<=`": "What was sent in the very microsecond is looked at next time.",
    "mcp_agentbus/store/asked/question.py: if decision is None or decision.at < self.at:: "
    "it compares by `<=`": "Nobody decides in the microsecond in which something is asked.",
    "mcp_agentbus/handoff/parked/replay.py: written = await records.update(bus, key, offered_again, "
    "known=(standing, revision)): it is not told `known`": "Then it reads once more what it has read.",
    "mcp_agentbus/store/queries/clock.py: is_set = abs((here - self.here).total_seconds() "
    "- passed_s) > _SET_S: it compares by `>=`": "A clock set by half a second to the "
    "microsecond: either answer is as good.",
    "mcp_agentbus/store/queries/clock.py: return (self.is_exact and passed_s < _COUNTS_S) "
    "or self.is_far(here, about): it compares by `<=`": "A minute to the nanosecond: either "
    "answer is as good.",
    "mcp_agentbus/store/queries/clock.py: return abs(here + self.ahead - about) > _FAR: it "
    "compares by `>=`": "A day away to the microsecond: either answer is as good.",
    "mcp_agentbus/store/asked/question.py: replied = {each.state: each.at for each in "
    "steps if each.at >= step.at}: it compares by `>`": "Nobody replies in the millisecond in "
    "which something is asked.",
    "mcp_agentbus/store/upkeep/due.py: self._since = 0.0: it is 1.0": "It is set with the first "
    "that is found, before it is asked for.",
    "mcp_agentbus/store/upkeep/due.py: self._look_at = 0.0: it is 1.0": "No machine that has run "
    "for a second looks the sooner.",
    "mcp_agentbus/store/upkeep/due.py: is_full = 0 < "
    'info["config"]["max_msgs_per_subject"] <= count: it is 1': "A lane that takes a single task "
    "nobody sets up.",
    'mcp_agentbus/store/upkeep/due.py: if source.get("name") == SCHEDULE and 0 <= '
    'int(source.get("active", -1)) < _COPIES_S * _S:: it is 2': "Any number below none says that "
    "it does not copy.",
    'mcp_agentbus/store/upkeep/due.py: return int((info["state"].get("subjects") or '
    "{}).get(subject, 0)): it is 1": "A lane that takes a single task nobody sets up: with room "
    "for two neither number fills it.",
    "mcp_agentbus/store/upkeep/lost.py: return made_at - first > _TOGETHER and text.now() "
    "- made_at < _LOSS_MATTERS: it compares by `>=`": "Five seconds to the microsecond: either "
    "answer is as good.",
    "mcp_agentbus/store/upkeep/lost.py: return made_at - first > _TOGETHER and text.now() "
    "- made_at < _LOSS_MATTERS: it compares by `<=`": "Two weeks to the microsecond: either "
    "answer is as good.",
    "mcp_agentbus/handoff/results.py: await session.bus.extend(claim.delivery): it is not done": "The "
    "session's keeper says it every 5 s, and the server waits for 30.",
    "mcp_agentbus/handoff/dispatch/noted.py: write_whole(path, _as_one(path) + line, "
    "durable=False): it is not told `durable`": "It lasts beyond a loss of power, which is more than "
    "is promised.",
    "mcp_agentbus/handoff/dispatch/noted.py: write_whole(path, _as_one(path) + line, "
    "durable=False): it is True": "The same.",
    "mcp_agentbus/wakes/backlog.py: offered = consumer.last if consumer else 0: it is 1": "It is counted otherwise for a session that was told of the first message on the bus "
    "alone.",
    "mcp_agentbus/wakes/demand.py: words: int = 0: it is 1": "It is told of each lane.",
    "mcp_agentbus/wakes/tables.py: return "
    'at.astimezone(UTC).isoformat(timespec="microseconds"): it is not told `timespec`': "Where there is no fraction a `+` follows, which is before the `.` of all others.",
    "mcp_agentbus/wakes/ledger.py: self._version = 0: it is 1": "Nothing is remembered yet that a version could be of.",
    "mcp_agentbus/wakes/ledger.py: def ends_unwritten(self, after: int = 0, limit: int = 100) -> list[Row]:: "
    "it is 101": "The hundred-and-first is told at the next look.",
    "mcp_agentbus/wakes/ledger.py: file = sqlite3.connect(: it is not told `isolation_level`": "All that is written is between a BEGIN and a COMMIT of our own.",
    'mcp_agentbus/wakes/ledger.py: file.execute("PRAGMA synchronous = FULL"): it is not done': "SQLite itself begins with FULL, and each transaction says what it wants.",
    "mcp_agentbus/wakes/ledger.py: return wake or 0: it is 1": "What was inserted has a number.",
    "mcp_agentbus/wakes/ledger.py: file.close(): it is not done": "It is closed once nobody has it any more, which is then.",
    'mcp_agentbus/bus/replies.py: code = refused.get("err_code", 0) if refused is not None '
    "else 0: it is 1": "Where nothing was refused the code is not looked at.",
    'mcp_agentbus/bus/replies.py: left = int(request.get("batch", 1 + came)) - came: it is 2': "Without a batch it is more than none in either case.",
    "mcp_agentbus/bus/replies.py: offered, seq, _, nanoseconds, waiting = tokens[4:9] if "
    "len(tokens) == 9 else tokens[6:11]: it is 10": "There are nine.",
    'mcp_agentbus/store/upkeep/as_made.py: return bool(0 < has.get("max_bytes", -1) < '
    'made.get("max_bytes", 0) * _TOO_SMALL): it is 2': "Any number below 0 says that there is no limit.",
    'mcp_agentbus/store/upkeep/as_made.py: return bool(0 < has.get("max_bytes", -1) < '
    'made.get("max_bytes", 0) * _TOO_SMALL): it is 1': "Of one byte the 1,024th part is no whole one.",
    "mcp_agentbus/bus/reconnect.py: self._closed, self._repairs = False, 0: it is 1": "It is compared with what it was before alone.",
    "mcp_agentbus/bus/reconnect.py: self._repairs += 1: it is 2": "It is compared with what it was before alone.",
    "mcp_agentbus/bus/reconnect.py: await self._tried(lambda *_: asyncio.sleep(0), stores=False): it is True": "Nothing is asked, so nothing is handed over.",
    "mcp_agentbus/handoff/intake/references.py: return -1: it is 2": "Claims are numbered from 1 on.",
    "mcp_agentbus/handoff/claims.py: return self._found_at is not None and claim.claimed_at < "
    "self._found_at: it compares by `<=`": "Nothing is claimed in the microsecond of the look.",
    'mcp_agentbus/store/task.py: value, "subject", 4 * SUBJECT_MAX_CHARS: it is 5': "No character "
    "has more than 4 bytes in UTF-8.",
    'mcp_agentbus/store/queries/copies.py: self._began: tuple[int, tuple[str, str]] = (-1, ("", '
    '"")): it is 2': "No connection has a number below 0.",
    "mcp_agentbus/store/queries/counted.py: return offset if page and offset < "
    'int(info.get("total", 0)) else None: it is 1': "Whoever gets there has counted one.",
    "mcp_agentbus/store/queries/senders.py: inbox, task_id = senders[0].inbox, "
    "senders[0].task_id: it is 1": "All have the same, and there are several.",
    "mcp_agentbus/store/queries/senders.py: if len(senders) > 1:  # anybody may write under any "
    "number of names: it compares by `>=`": "Of one it is asked twice whether its task is there.",
    "mcp_agentbus/store/queries/senders.py: if len(senders) > 1:  # anybody may write under any "
    "number of names: it is 2": "Two are then asked for one by one, and not together first.",
    "mcp_agentbus/store/upkeep/due.py: task = decoded(replace(message, "
    "subject=_task_subject(message))): it is not told `subject`": "What falls due has inbox, lane "
    "and sender in the same places.",
    "mcp_agentbus/store/upkeep/copiers.py: start, total = 0, 1: it is 2": "The first page is asked "
    "for, and tells how many there are.",
    'mcp_agentbus/store/upkeep/room.py: [(sender, count)] = counts.most_common(1) or [("", 0)]: '
    "it is 1": "Neither is a flood.",
    "mcp_agentbus/store/streams.py: if room is None or room >= wanted or "
    'stream["storage"] != "file":: it compares by `>`': "In proportion that is the same.",
    "mcp_agentbus/store/queries/consumers.py: known += [lane(whose, each) for each in LANES if each "
    "in rest[:1]]: it is 2": "A lane more is known, which the consumer is then compared with in vain.",
    'mcp_agentbus/store/codec.py: _Model = TypeVar("_Model", bound=BaseModel): '
    "it is not told `bound`": "It matters to type checkers alone.",
    'mcp_agentbus/store/records.py: _T_co = TypeVar("_T_co", covariant=True): '
    "it is not told `covariant`": "It matters to type checkers alone.",
    'mcp_agentbus/store/records.py: _T_co = TypeVar("_T_co", covariant=True): it is False': "It matters "
    "to type checkers alone.",
    "mcp_agentbus/handoff/dispatch/draft.py: class Options(TypedDict, total=False):: it is True": "It matters "
    "to type checkers alone.",
    "mcp_agentbus/relay/carried/command.py: _TAKES_WITHIN_S = 2.0: it is 3.0": "A limit is a choice.",
    "mcp_agentbus/relay/carried/command.py: _SILENT_S = 5.0: it is 6.0": "A limit is a choice.",
    "mcp_agentbus/relay/carried/command.py: _CHUNK_BYTES = 64 * 1024: it is 65": "A limit is a choice.",
    "mcp_agentbus/relay/carried/command.py: _CHUNK_BYTES = 64 * 1024: it is 1025": "A limit is a choice.",
    "mcp_agentbus/relay/carried/words.py: MAX_BYTES = 512 * 1024: it is 513": "A limit is a choice.",
    "mcp_agentbus/relay/carried/words.py: MAX_BYTES = 512 * 1024: it is 1025": "A limit is a choice.",
    "mcp_agentbus/relay/carried/words.py: _HEAD_MAX = 64: it is 65": "A limit is a choice.",
    "mcp_agentbus/relay/carried/words.py: if len(come) > _HEAD_MAX:: it compares by `>=`": "No kind and "
    "number is half as long.",
    "mcp_agentbus/listener/carried/order.py: if not isinstance(size, int) or not 0 <= size <= "
    "words.MAX_BYTES:: it is 1": "What has no size lacks all that a command has, and is refused for that.",
    "mcp_agentbus/listener/endpoint.py: reader = asyncio.StreamReader(limit=local_socket.LINE_MAX_BYTES): "
    "it is not told `limit`": "It is asyncio's own as well.",
    "mcp_agentbus/listener/endpoint.py: await connection.writer.drain(): it is not done": "What was said "
    "is written before the connection is closed, right behind it.",
    "mcp_agentbus/listener/endpoint.py: self._lock = -1: it is 2": "No descriptor is below 0.",
    "mcp_agentbus/listener/endpoint.py: listening.listen(128): it is 129": "A limit is a choice.",
    "mcp_agentbus/listener/relayed.py: await connection.writer.drain(): it is not done": "What is written "
    "is sent as well, and whoever has gone says nothing more.",
    "mcp_agentbus/listener/relayed.py: await order.connection.writer.drain(): it is not done": "The "
    "endpoint waits for the same right behind it.",
    "mcp_agentbus/core/framing.py: ) | frozenset(chr(code) for code in (*range(0xFE00, 0xFE10), "
    "*range(0xE0100, 0xE01F0))): it is 918001": "That one is no character, and shown as no other is.",
    'mcp_agentbus/core/framing.py: return json.dumps(char)[1:-1] if char > "\\uffff" else '
    'f"\\\\u{ord(char):04x}": it compares by `>=`': "Of that one both spell the same.",
    "mcp_agentbus/tools/history.py: step: int = 0: it is 1": "It is set with the first span, before "
    "anybody asks for it.",
    "mcp_agentbus/tools/history.py: rest = Span(span.until or 0, span.until): it is 1": "Up to none there "
    "is no step, behind whichever.",
}
