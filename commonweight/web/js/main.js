// The page from top to bottom: what it is told, the run, the first look; then a look at every new block.

import { checksum } from "./crypto.js";
import { readConfig } from "./config.js";
import { Content } from "./content.js";
import { applyWidths, find, h, region, say, shorten } from "./dom.js";
import { Evidence } from "./evidence.js";
import { explain } from "./errors.js";
import { rebuild } from "./ledger.js";
import { EventLog, NoRun, openRun, readSnapshot, stateOf } from "./run.js";
import { Rpc, Unreachable, masked } from "./rpc.js";
import { relative, when } from "./time.js";
import { Transactions } from "./transactions.js";
import { Wallet, chainName } from "./wallet.js";
import { overview } from "./views/overview.js";

const LOOK_MS = 2_500;
const TABS = {
  overview: async () => overview,
  funding: async () => (await import("./views/funding.js")).funding,
  training: async () => (await import("./views/training.js")).training,
  providers: async () => (await import("./views/providers.js")).providers,
  audit: async () => (await import("./views/audit.js")).audit,
};
const STATES = {
  funding: "collecting money", "goal-met": "goal met, still collecting", failed: "goal missed: refunds are open",
  funded: "funded, training begins soon", training: "training", trained: "trained",
};

const app = { views: {}, shown: "overview", trouble: null, waiting: [] };
globalThis.commonweightState = () => ({ block: app.snapshot?.number, trouble: app.trouble });  // for people with a console

async function start() {
  app.config = await readConfig();
  const { rpc, run } = app.config;
  if (rpc.length === 0 || run === "") return ask();
  app.rpc = new Rpc(rpc);
  app.content = new Content(app.config.gateways);
  app.look = look;
  app.nextLook = () => new Promise((resolve) => app.waiting.push(resolve));
  app.evidence = evidenceOf;
  app.now = () => app.snapshot.time;
  app.redraw = redraw;
  app.connect = pick;
  app.wallet = new Wallet();
  app.wallet.onChange(walletChanged);
  find("connect").disabled = false;
  find("connect").addEventListener("click", () => pick());
  globalThis.addEventListener("hashchange", () => route(true));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  route(false);
  await look();
  setInterval(() => { if (!document.hidden) look(); }, LOOK_MS);
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
    if (!app.run) {
      app.run = await openRun(app.rpc, app.config.run);
      app.log = new EventLog(app.rpc, app.run);
      app.transactions = new Transactions(app.rpc, app.run);
      app.transactions.onChange(() => redraw());
    }
    const head = await app.rpc.call("eth_getBlockByNumber", ["latest", false]);
    const changed = head.hash !== app.snapshot?.hash;
    if (changed) {
      const snapshot = await readSnapshot(app.rpc, app.run, head);
      await app.log.advance(snapshot);
      app.snapshot = snapshot;
      app.state = stateOf(app.run, snapshot);
      app.ledger = rebuild(app.log.all);
    }
    app.trouble = null;
    if (changed || app.transactions.list.some((t) => t.state !== "final")) await app.transactions.refresh(app.snapshot);
  } catch (error) {
    if (error instanceof NoRun) {
      app.trouble = { title: "There is no such run", why: error.message, fix: "" };
    } else {
      app.trouble = error instanceof Unreachable
        ? { title: "The chain cannot be read", why: error.message, fix: "Trying again every few seconds." }
        : await explain(error);
    }
  }
  redraw();
}

const evidences = new Map();

/** The published evidence of an epoch's report; null where there is no report. */
function evidenceOf(epoch) {
  const entry = app.ledger.reports.get(epoch);
  if (!entry) return null;
  const { digest, report } = entry;
  if (!evidences.has(digest)) evidences.set(digest, new Evidence(app.content, report));
  return evidences.get(digest);
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
  if (!(name in app.views)) app.views[name] = (await TABS[name]())(app);
  if (name !== app.shown) return;
  const main = find("main");
  const view = app.views[name];
  view.update();
  if (main.firstChild !== view.root || main.childNodes.length !== 1) main.replaceChildren(view.root);
  applyWidths(main);
  document.body.dataset.block = app.snapshot.number.toString();
}

function heading() {
  const { run, snapshot, state } = app;
  const name = run.params.name || "A run without a name";
  find("run-name").textContent = name;
  document.title = `${name} · Commonweight`;
  region(find("run-line"), [state], () => [h("span", { class: `state ${state}` }, STATES[state]), ` on ${chainName(run.chainId)}`]);
  find("as-of").textContent = `As of block ${snapshot.number}, ${when(snapshot.time)}; blocks up to ${snapshot.finalNumber} are final. Read from ${app.config.rpc.map(masked).join(", ")}.`;
}

function notices() {
  const { wallet, run, trouble, config, snapshot } = app;
  const wrong = Boolean(run && wallet?.connected && wallet.chainId !== run.chainId);
  const list = app.transactions?.list ?? [];
  region(find("notices"), [trouble, config.foreign, wrong, wallet?.chainId, list, snapshot && trouble ? snapshot.number : 0], () => [
    trouble && h("div", { class: "notice bad", role: "alert", id: "trouble" }, h("strong", {}, trouble.title), ` ${trouble.why} ${trouble.fix}`,
      snapshot && h("p", {}, `What you see is as of block ${snapshot.number}, ${relative(snapshot.time, BigInt(Math.floor(Date.now() / 1000)))}.`)),
    config.foreign.length > 0 && h("div", { class: "notice warn" }, h("strong", {}, "This link brings its own settings."),
      ` The ${config.foreign.join(" and ")} come from the link and are not what this site serves. Check where you got it before you send money.`),
    wrong && h("div", { class: "notice warn", id: "wrong-chain" }, h("strong", {}, "Your wallet is on another chain."),
      ` It is on ${chainName(wallet.chainId)}, this run lives on ${chainName(run.chainId)}. `,
      h("button", { type: "button", id: "switch-chain", onclick: switchChain }, `Switch to ${chainName(run.chainId)}`)),
    list.map(transactionNotice),
  ]);
}

function transactionNotice(one) {
  const short = h("code", { title: one.hash }, shorten(one.hash));
  const words = {
    waiting: one.again ? "A reorganisation took its block away. It is waiting to be mined again." : "Sent, waiting to be mined.",
    mined: one.failed ? `Refused. ${one.reason}` : `Mined in block ${one.block}, not final yet.`,
    final: one.failed ? `Refused. ${one.reason}` : `Final, in block ${one.block}.`,
    replaced: "Another transaction of your account took its place, so this one did nothing.",
  }[one.state];
  const kind = one.failed || one.state === "replaced" ? "bad" : one.state === "final" ? "good" : "busy";
  const over = one.failed || ["final", "replaced"].includes(one.state);
  return h("div", { class: `notice transaction ${kind}`, "data-state": one.failed ? "failed" : one.state },
    h("strong", {}, one.title), ` ${words} `, short,
    over && h("button", { type: "button", class: "quiet small", "aria-label": `Dismiss: ${one.title}`, onclick: () => app.transactions.dismiss(one.hash) }, "Dismiss"));
}

// --- the wallet -------------------------------------------------------------------------------------------------------

async function walletChanged() {
  const { wallet } = app;
  const corner = find("wallet-corner");
  const account = wallet.account;
  region(corner, [account, wallet.info?.name], () => (account
    ? h("button", { type: "button", id: "connect", class: "account", onclick: () => account_dialog() },
        h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "unseen" }, "Connected: "), `${account.slice(0, 6)}…${account.slice(-4)}`)
    : h("button", { type: "button", id: "connect", class: "quiet", onclick: () => pick() }, "Connect", h("span", { class: "long" }, " a wallet"))));
  if (app.run) await redraw();
}

async function account_dialog() {
  const dialog = find("picker");
  const { wallet } = app;
  const full = await checksum(wallet.account);
  dialog.replaceChildren(
    h("h2", { id: "picker-title" }, wallet.info.name), h("p", {}, h("code", { class: "whole" }, full)),
    h("div", { class: "buttons" },
      h("button", { type: "button", class: "quiet", onclick: () => { dialog.close(); wallet.disconnect(); say("The wallet is disconnected from this page."); } }, "Disconnect"),
      h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")));
  dialog.showModal();
}

/** Let the person choose a wallet. Resolves to whether one is connected. */
function pick() {
  const dialog = find("picker");
  const message = h("div", { class: "message", role: "status", "aria-live": "polite" });
  const connect = async (choice) => {
    message.replaceChildren(`${choice.info.name} asks you whether this page may see your address.`);
    try {
      if (await app.wallet.connect(choice)) dialog.close();
      else message.replaceChildren("You declined in the wallet. Nothing has changed.");
    } catch (error) {
      const { title, why, fix } = await explain(error);
      message.replaceChildren(`${title}. ${why} ${fix}`);
    }
  };
  const choices = app.wallet.choices;
  dialog.replaceChildren(
    h("h2", { id: "picker-title" }, "Choose a wallet"),
    choices.length > 0
      ? h("ul", { class: "wallets" }, choices.map((choice) => h("li", {},
          h("button", { type: "button", onclick: () => connect(choice) },
            /^data:image\//.test(choice.info.icon ?? "") ? h("img", { src: choice.info.icon, alt: "", width: 28, height: 28 }) : h("span", { class: "no-icon", "aria-hidden": "true" }),
            choice.info.name))))
      : h("p", {}, "No wallet has announced itself in this browser. Install a wallet extension, or open this page inside a wallet's own browser. ",
          "Without one you can read everything, and fund by ", h("code", {}, "commonweight fund deposit"), "."),
    message,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(app.wallet.connected), { once: true }));
}

async function switchChain() {
  try {
    if (!(await app.wallet.switchTo(app.run.chainId, app.config.rpc))) say("Nothing has changed.");
  } catch (error) {
    const { title, why, fix } = await explain(error);
    app.trouble = { title, why, fix };
    notices();
  }
}

// --- no run named -----------------------------------------------------------------------------------------------------

function ask() {
  find("run-line").textContent = "Which run do you want to see?";
  const { rpc, givenRun } = app.config;
  const field = (id, label, hint, value) => h("div", { class: "field" }, h("label", { for: id }, label),
    h("input", { id, name: id, value, autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": `${id}-hint` }),
    h("p", { class: "hint", id: `${id}-hint` }, hint));
  const form = h("form", { class: "card", onsubmit: (event) => {
    event.preventDefault();
    const query = new URLSearchParams({ rpc: form.elements.rpc.value.trim(), run: form.elements.run.value.trim() });
    location.search = query.toString();
  } },
    h("h2", {}, "Name a run"),
    givenRun && !/^0x[0-9a-fA-F]{40}$/.test(givenRun) && h("p", { class: "problem", role: "alert" }, `“${givenRun.slice(0, 60)}” is not an address: that is 0x and 40 hex digits.`),
    field("rpc", "RPC address of the chain", "The page reads everything from it, for example http://127.0.0.1:8545.", rpc.join(",")),
    field("run", "The run", "The address of its campaign; `commonweight run list` shows the runs.", givenRun),
    h("div", { class: "buttons" }, h("button", { class: "primary" }, "Show this run")));
  find("main").replaceChildren(form);
}

start();
