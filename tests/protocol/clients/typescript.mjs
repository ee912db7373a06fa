// SPDX-License-Identifier: Apache-2.0
// The MCP SDK for TypeScript: 1.x, or 2.x, whose client is a package of its own.
// What lines.py says of a driver holds here, too; `modules` is where a line's modules are.

import { existsSync } from "node:fs";
import { createInterface } from "node:readline";

const told = JSON.parse(process.argv[2]);
const suffix = existsSync(`${told.modules}/index.mjs`) ? "mjs" : "js";
const { Client } = await import(`${told.modules}/index.${suffix}`);
const { StdioClientTransport } = await import(`${told.modules}/stdio.${suffix}`);

const clients = {};
for (const [agent, [command, ...args]] of Object.entries(told.servers)) {
  clients[agent] = new Client({ name: "typescript", version: "1" });
  await clients[agent].connect(new StdioClientTransport({ command, args, env: told.environ }));
}
for await (const line of createInterface({ input: process.stdin })) {
  const { agent, tool, arguments: given } = JSON.parse(line);
  const result = await clients[agent].callTool({ name: tool, arguments: given });
  const text = result.content.map((part) => part.text).join("\n");
  console.log(JSON.stringify({ text, refused: Boolean(result.isError) }));
}
for (const client of Object.values(clients)) await client.close();
