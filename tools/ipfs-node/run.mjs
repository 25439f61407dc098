#!/usr/bin/env node
// Runs a real IPFS node (js-ipfs with its Kubo-style RPC) on this machine alone: no peers, no gateway, no announcements.
//
//     node tools/ipfs-node/run.mjs --repo DIRECTORY [--port PORT]
//
// Prints {"url": "http://127.0.0.1:PORT"} on one line once the RPC answers; port 0, the default, takes a free one.
// SIGTERM and SIGINT stop it; so does the end of its standard input if --until-eof is given, so that it never
// outlives a test run that was killed.

import { parseArgs } from "node:util";

// Node 20 has no Promise.withResolvers, which a dependency of this node calls.
Promise.withResolvers ??= function withResolvers() {
  let resolve, reject;
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
};

const { values } = parseArgs({
  options: {
    repo: { type: "string" },
    port: { type: "string", default: "0" },
    "until-eof": { type: "boolean", default: false },
  },
});
if (!values.repo || !/^\d+$/.test(values.port)) {
  console.error("usage: run.mjs --repo DIRECTORY [--port PORT] [--until-eof]");
  process.exit(2);
}

const { create } = await import("ipfs-core");
const { HttpApi } = await import("ipfs-http-server");
const node = await create({
  repo: values.repo,
  init: { emptyRepo: true },
  offline: true,
  silent: true,
  preload: { enabled: false },
  config: {
    Addresses: { Swarm: [], Announce: [], NoAnnounce: [], API: `/ip4/127.0.0.1/tcp/${values.port}`, Gateway: [], RPC: "", Delegates: [] },
    Bootstrap: [],
    Discovery: { MDNS: { Enabled: false }, webRTCStar: { Enabled: false } },
    Pubsub: { Enabled: false },
    Swarm: { DisableNatPortMap: true },
  },
});
const api = new HttpApi(node);
await api.start();

let stopping = false;
async function stop() {
  if (stopping) return;
  stopping = true;
  await api.stop();
  await node.stop();
  process.exit(0);
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
if (values["until-eof"]) process.stdin.resume().on("end", stop);

const [server] = api._apiServers;
console.log(JSON.stringify({ url: `http://127.0.0.1:${server.info.port}` }));
