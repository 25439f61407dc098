// What runs first, while the rest of the page is still on its way: what the page is told, and the first look at the chain.

import { Rpc } from "./rpc.js";
import { Reading } from "./run.js";

const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const VIEWS = ["funding", "training", "providers", "audit"];

/** ?rpc=, ?run= and ?gateway= of the address, else what is served: within the page, or as the config.json beside it.
 *  `foreign` names what comes from the address and differs from what this site serves: a link can carry it. */
async function readConfig() {
  const within = document.querySelector("meta[name=served]")?.content;
  const served = within ? JSON.parse(within) : await fetch("config.json").then((r) => r.json()).catch(() => ({}));
  const query = new URLSearchParams(location.search);
  const rpc = split(query.get("rpc")) ?? served.rpc ?? [];
  const run = query.get("run") ?? served.run ?? "";
  const gateways = split(query.get("gateway")) ?? served.gateways ?? [];
  const foreign = [];
  if (served.rpc && rpc.join() !== served.rpc.join()) foreign.push("RPC address");
  if (served.run && run.toLowerCase() !== served.run.toLowerCase()) foreign.push("run");
  return {
    rpc: rpc.filter(isUrl), run: ADDRESS.test(run) ? run.toLowerCase() : "", gateways: gateways.filter(isUrl),
    live: served.live ?? null, foreign, givenRun: run,
  };
}

const split = (text) => (text === null ? null : text.split(",").map((part) => part.trim()).filter(Boolean));

function isUrl(text) {
  try { return ["http:", "https:"].includes(new URL(text, location.href).protocol); } catch { return false; }
}

/** The view that is asked for comes with the rest, not when the rest is there to ask for it. */
function preloadView() {
  const name = location.hash.slice(1);
  if (!VIEWS.includes(name)) return;
  const link = document.createElement("link");
  link.rel = "modulepreload";
  link.href = new URL(`./views/${name}.js`, import.meta.url).href;
  document.head.append(link);
}

/** The configuration and, where a run is named, its reading with the first look under way. */
async function open() {
  const config = await readConfig();
  if (config.rpc.length === 0 || config.run === "") return { config, reading: null, first: null };
  const reading = new Reading(new Rpc(config.rpc, globalThis.asked), config.run);
  const first = reading.next();
  first.catch(() => {});  // whoever waits for it is told; it may fail before anyone does
  return { config, reading, first };
}

export const opening = open();
preloadView();
