// The page from top to bottom: the run and the first look, begun in opening.js; then the visitor's side, and a look at every new block.

import { applyWidths, find, h, region, visible } from "./dom.js";
import { ledgerKey, rebuild } from "./ledger.js";
import { opening } from "./opening.js";
import { NoRun, Refused, chainName, standsStill, stateOf, views } from "./run.js";
import { Nonsense, Unreachable, masked } from "./rpc.js";
import { overview } from "./views/overview.js";
import { relative, span, when } from "./views/parts.js";

globalThis.begun = true;  // all of this page's modules have come
const LOOK_MS = 2_500;
const SLOW_MS = 5_000;
const AGE_MS = 1_000;
const LATE_S = 900n;  // no block for so long, and the node is taken to have fallen behind
const TABS = {
  overview: async () => overview,
  funding: async () => (await import("./views/funding.js")).funding,
  training: async () => (await import("./views/training.js")).training,
  providers: async () => (await import("./views/providers.js")).providers,
  audit: async () => (await import("./views/audit.js")).audit,
};
const ALONE = new Set(["overview", "funding"]);  // views that show and react before the visitor's side is there
const STATES = {
  funding: "collecting money", "goal-met": "goal met, still collecting", failed: "goal missed: refunds are open",
  funded: "funded, training begins soon", training: "training", trained: "trained",
};

/** What all parts share. `visitor` brings wallet, transactions and content, once the first look is on the screen. */
const app = {
  views: {}, shown: "overview", trouble: null, missing: new Map(), switchProblem: null, waiting: [], visitor: null, wallet: { connected: false, account: null, chainId: null },
};

async function start() {
  const { config, reading, first } = await opening;
  app.config = config;
  if (reading === null) return ask();
  Object.assign(app, { reading, first, rpc: reading.rpc, look, attached, part, pendingState });
  app.nextLook = () => new Promise((resolve) => app.waiting.push(resolve));
  app.redraw = redraw;
  app.notices = notices;
  globalThis.addEventListener("hashchange", () => route(true));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  route(false);
  const slow = setTimeout(() => { if (!app.snapshot) find("run-line").textContent = "Still reading: the chain is slow to answer…"; }, SLOW_MS);
  reading.told = (at, to) => {
    clearTimeout(slow);
    if (!app.snapshot) find("run-line").textContent = `Reading the chain: events up to block ${at} of ${to}…`;
  };
  await look();
  clearTimeout(slow);
  setInterval(() => { if (!document.hidden) look(); }, LOOK_MS);
  setInterval(age, AGE_MS);
}

// --- looking at the chain ---------------------------------------------------------------------------------------------

let looking = null;

/** Look at the chain once; one look at a time, and what is asked for meanwhile is looked for again. */
function look() {
  looking ??= lookOnce().finally(() => {
    looking = null;
    for (const resolve of app.waiting.splice(0)) resolve();
  });
  return looking;
}

async function lookOnce() {
  try {
    const asked = app.first ?? app.reading.next();
    app.first = null;
    const snapshot = await asked;
    if (snapshot) {
      const { run, log } = app.reading;
      Object.assign(app, { run, log, snapshot, state: stateOf(run, snapshot) });
      const key = ledgerKey(log.all, snapshot.finalNumber);
      if (key !== app.ledgerKey) app.ledger = rebuild(log.all);
      app.ledgerKey = key;
    }
    app.trouble = null;
    if (snapshot || app.transactions?.unsettled.length) await app.transactions?.refresh(app.snapshot);
  } catch (error) {
    app.trouble = await troubleOf(error);
    if (!app.snapshot) find("run-line").textContent = "Nothing is known of this run yet.";
  }
  await redraw();
  if (app.run) part("visitor", attached);
}

let held = null;

/** How the report stands that is not final: anyone can challenge it, or nobody any more and it waits for somebody to make it final; null where there is none. */
function pendingState() {
  const { run, rpc, snapshot: s, ledger: { pending } } = app;
  if (pending === null) return null;
  const { digest } = pending.report;
  if (held?.digest !== digest) held = { digest, openUntil: null, over: false, asked: null };
  const mine = held;
  // A game's every move may put the end off, so that what was told is no more than the earliest.
  if ((mine.openUntil === null || mine.openUntil <= s.time) && mine.asked !== s.number) {
    mine.asked = s.number;
    const question = [run.addresses.oracle, "CreditOracle.epochInfo", [BigInt(pending.epoch)]];
    views(rpc, [question], `0x${s.number.toString(16)}`).then(([{ openUntil }]) => {
      Object.assign(mine, { openUntil, over: openUntil <= s.time });
      redraw();
    }).catch(() => { mine.asked = null; });  // the next look asks again
  }
  return mine.over ? "waits to be made final" : "open to challenge";
}

/** The visitor's side, loaded when first wanted. */
const attached = () => (app.visitor ??= import("./visitor.js").then(({ attach }) => attach(app)).catch((error) => {
  app.visitor = null;
  throw error;
}));

/** What `load` gives, files of this site that are not here yet; null where they do not come, which is said by that name until they do. */
async function part(name, load) {
  try {
    const given = await load();
    if (app.missing.delete(name)) notices();
    return given;
  } catch (error) {
    app.missing.set(name, error.message);
    notices();
    return null;
  }
}

async function troubleOf(error) {
  if (error instanceof NoRun) return { title: "There is no such run", why: error.message, fix: "" };
  if (error instanceof Refused) return { title: "The node refuses to answer", why: error.message, fix: "Trying again every few seconds, at the next RPC address where there is one." };
  if (error instanceof Nonsense) return { title: "The chain's answer makes no sense", why: error.message, fix: "Trying again every few seconds; believe nothing that needs it." };
  if (error instanceof Unreachable) return { title: "The chain cannot be read", why: error.message, fix: "Trying again every few seconds." };
  return (await import("./errors.js")).explain(error, app.run);
}

// --- drawing ----------------------------------------------------------------------------------------------------------

async function route(byPerson) {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return;
  app.shown = wanted in TABS ? wanted : "overview";
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.hash === `#${app.shown}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  if (app.run) {
    await redraw();
    if (byPerson) find("main").focus({ preventScroll: true });
  }
}

async function redraw() {
  notices();
  if (!app.snapshot) return;
  heading();
  const name = app.shown;
  const view = app.views[name] ?? (await part(name, async () => {
    const [make] = await Promise.all([TABS[name](), ALONE.has(name) || attached()]);
    return (app.views[name] ??= make(app));
  }));
  if (name !== app.shown) return;
  const main = find("main");
  if (view === null) return main.replaceChildren(h("p", { class: "empty" }, "This part has not come."));
  view.update();
  if (main.firstChild !== view.root || main.childNodes.length !== 1) main.replaceChildren(view.root);
  applyWidths(main);
  document.body.dataset.block = app.snapshot.number.toString();
}

function heading() {
  const { run, snapshot, state } = app;
  const name = visible(run.params.name) || "A run without a name";
  find("run-name").textContent = name;
  document.title = `${name} · Commonweight`;
  region(find("run-line"), [state], () => [h("span", { class: `state ${state}` }, STATES[state]), ` on ${chainName(run.chainId)}`]);
  find("as-of").textContent = `As of block ${snapshot.number}, ${when(snapshot.time)}; blocks up to ${snapshot.finalNumber} are final. Read from ${app.config.rpc.map(masked).join(", ")}.`;
}

function notices() {
  const { wallet, run, trouble, switchProblem, config, snapshot } = app;
  const missing = [...new Set(app.missing.values())];
  const wrong = Boolean(run && wallet?.connected && wallet.chainId !== run.chainId);
  const sent = app.transactions?.list ?? [];
  const old = snapshot && !trouble && !standsStill(run.chainId) ? clock() - snapshot.time : 0n;
  const late = old > LATE_S && span(old);
  region(find("notices"), [trouble, missing, switchProblem, config.foreign, wrong, wallet?.chainId, wallet?.account, sent, late, snapshot && trouble ? snapshot.number : 0], () => [
    trouble && h("div", { class: "notice bad", id: "trouble" },
      h("div", { role: "alert" }, h("strong", {}, `${trouble.title}.`), ` ${trouble.why} ${trouble.fix}`),
      snapshot && h("p", { id: "age" })),
    late && h("div", { class: "notice warn", id: "late" }, h("strong", {}, `The newest block that the node knows is ${late} old.`),
      " The node has fallen behind, or this computer's clock is wrong. More may have happened since than is shown here."),
    missing.length > 0 && h("div", { class: "notice bad", id: "missing" },
      h("div", { role: "alert" }, h("strong", {}, "A part of this page did not come."), ` ${missing.join("; ")}. Without it, some of the page stays empty or does not react. What was sent and what you typed stays.`),
      h("button", { type: "button", id: "reload", class: "small", onclick: () => location.reload() }, "Load the page again")),
    config.foreign.length > 0 && h("div", { class: "notice warn" }, h("strong", {}, "This link brings its own settings."),
      ` The ${config.foreign.join(" and ")} come from the link and are not what this site serves. Check where you got it before you send money.`),
    wrong && h("div", { class: "notice warn", id: "wrong-chain" }, h("strong", {}, "Your wallet is on another chain."),
      ` It is on ${chainName(wallet.chainId)}, this run lives on ${chainName(run.chainId)}. `,
      h("button", { type: "button", id: "switch-chain", onclick: app.switchChain }, `Switch to ${chainName(run.chainId)}`),
      switchProblem && h("p", { role: "alert" }, `${switchProblem.title}. ${switchProblem.why} Change to ${chainName(run.chainId)} in the wallet itself.`)),
    sent.map((one) => app.transactionNotice(one)),
  ]);
  age();
}

const clock = () => BigInt(Math.floor(Date.now() / 1000));

// Outside the alert: it goes on without being read out each time.
function age() {
  const place = document.getElementById("age");
  if (!place) return;
  const { number, time } = app.snapshot;
  place.textContent = `What you see is as of block ${number}, ${relative(time, clock())}.`;
}

// --- no run named -----------------------------------------------------------------------------------------------------

function ask() {
  find("run-line").textContent = "Which run do you want to see?";
  const { rpc, givenRun } = app.config;
  const wrong = givenRun && !/^0x[0-9a-fA-F]{40}$/.test(givenRun);
  const field = (id, label, hint, value, note) => h("div", { class: "field" }, h("label", { for: id }, label),
    h("input", { id, name: id, value, autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": [`${id}-hint`, note].filter(Boolean).join(" "), "aria-invalid": note && "true" }),
    h("p", { class: "hint", id: `${id}-hint` }, hint));
  const form = h("form", { class: "card", onsubmit: (event) => {
    event.preventDefault();
    const query = new URLSearchParams({ rpc: form.elements.rpc.value.trim(), run: form.elements.run.value.trim() });
    location.search = query.toString();
  } },
    h("h2", {}, "Name a run"),
    wrong && h("p", { class: "problem", role: "alert", id: "run-note" }, `“${givenRun.slice(0, 60)}” is not an address: that is 0x and 40 hex digits.`),
    field("rpc", "RPC address of the chain", "The page reads everything from it, for example http://127.0.0.1:8545.", rpc.join(",")),
    field("run", "The run", "The address of its campaign; `commonweight run list` shows the runs.", givenRun, wrong && "run-note"),
    h("div", { class: "buttons" }, h("button", { class: "primary" }, "Show this run")));
  find("main").replaceChildren(form);
}

start();
