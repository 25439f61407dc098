// What the page is told: ?rpc=, ?run= and ?gateway= of its address, else the config.json beside it.

const ADDRESS = /^0x[0-9a-fA-F]{40}$/;

/** `foreign` names what comes from the page's address and differs from what this site serves: a link can carry it. */
export async function readConfig() {
  const served = await fetch("config.json").then((r) => r.json()).catch(() => ({}));
  const query = new URLSearchParams(location.search);
  const rpc = split(query.get("rpc")) ?? served.rpc ?? [];
  const run = query.get("run") ?? served.run ?? "";
  const gateways = split(query.get("gateway")) ?? served.gateways ?? [];
  const foreign = [];
  if (served.rpc && rpc.join() !== served.rpc.join()) foreign.push("RPC address");
  if (served.run && run.toLowerCase() !== served.run.toLowerCase()) foreign.push("run");
  return {
    rpc: rpc.filter(isUrl), run: ADDRESS.test(run) ? run.toLowerCase() : "", gateways: gateways.filter(isUrl),
    live: served.live ?? null, factory: served.factory?.toLowerCase() ?? null, foreign, givenRun: run,
  };
}

const split = (text) => (text === null ? null : text.split(",").map((part) => part.trim()).filter(Boolean));

function isUrl(text) {
  try { return ["http:", "https:"].includes(new URL(text, location.href).protocol); } catch { return false; }
}
