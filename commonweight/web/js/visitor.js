// What a visitor brings and wants, loaded after the first paint: a wallet, transactions under way, published evidence.

import { Content } from "./content.js";
import { checksum } from "./crypto.js";
import { find, h, region, say, shorten, visible } from "./dom.js";
import { explain } from "./errors.js";
import { Evidence } from "./evidence.js";
import { Transactions } from "./transactions.js";
import { Wallet, framed } from "./wallet.js";

const UNSEEN_LOOKS = 3;  // a node may be a moment behind the wallet's

let app;

/** Give the page its wallet, transactions and evidence. */
export async function attach(page) {
  app = page;
  app.content = new Content(app.config.gateways);
  app.evidence = evidenceOf;
  app.connect = pick;
  app.switchChain = switchChain;
  app.transactionNotice = transactionNotice;
  app.transactions = new Transactions(app.rpc, app.run);
  app.transactions.onChange(transactionsChanged);
  app.wallet = new Wallet();
  app.wallet.onChange(walletChanged);
  walletChanged();
  transactionsChanged();
  if (app.snapshot) await app.transactions.refresh(app.snapshot).catch(() => {});  // the next look does it again, and tells why it cannot
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

const heard = new Map();  // the state in which each transaction was when it was last told of

/** Draw them, and say aloud what has become of one. */
function transactionsChanged() {
  for (const one of app.transactions.list) {
    const [name, state] = [one.was ?? one.hash, one.failed ? "failed" : one.state];
    if (heard.has(name) && heard.get(name) !== state) say(`${one.title}: ${wordsOf(one)}`);
    heard.set(name, state);
  }
  app.redraw();
}

function wordsOf(one) {
  const refused = `Refused: nothing was moved, only the network fee is paid. ${one.reason}`;
  return {
    asked: "The wallet was asked to send this, and its answer did not reach this page: it was closed or loaded again, or another tab asks. Look in the wallet whether it was sent before you send it again.",
    waiting: one.again ? "A reorganisation took its block away. It is waiting to be mined again."
      : isUnknown(one) ? "Your wallet has sent it, it says. The chain's node does not know it: if that stays so, the wallet has dropped it or sends it elsewhere."
      : one.was ? "Sped up in the wallet, waiting to be mined." : "Sent, waiting to be mined.",
    mined: one.failed ? refused : `Mined in block ${one.block}, not final yet.`,
    final: one.failed ? refused : `Final, in block ${one.block}.`,
    replaced: "Another transaction of your account took its place, so this one did nothing.",
  }[one.state];
}

const isUnknown = (one) => one.unseen >= UNSEEN_LOOKS;

function dismiss({ hash }) {
  app.transactions.dismiss(hash);
  (document.querySelector(".transaction button") ?? find("main")).focus({ preventScroll: true });
}

function transactionNotice(one) {
  const lost = app.transactions.lost(one);
  if (one.state === "asked" && !lost) return null;  // the review shows it
  const short = !lost && h("code", { title: one.hash }, shorten(one.hash));
  const kind = lost ? "warn" : one.failed || one.state === "replaced" ? "bad" : one.state === "final" ? "good" : "busy";
  const over = lost || isUnknown(one) || one.failed || ["final", "replaced"].includes(one.state);
  return h("div", { class: `notice transaction ${kind}`, "data-state": one.failed ? "failed" : one.state },
    h("strong", {}, one.title), one.from !== app.wallet.account && [" by ", h("code", { title: one.from }, shorten(one.from)), ":"], ` ${wordsOf(one)} `, short,
    !over && !app.transactions.kept && h("p", { class: "unkept" }, "This browser lets the page keep nothing: after a reload it no longer knows of this transaction."),
    over && h("button", { type: "button", id: `dismiss-${one.hash}`, class: "quiet small", "aria-label": `Dismiss: ${one.title}`, onclick: () => dismiss(one) }, "Dismiss"));
}

// --- the wallet -------------------------------------------------------------------------------------------------------

function walletChanged() {
  const { wallet } = app;
  const corner = find("wallet-corner");
  const account = wallet.account;
  region(corner, ["ready", account, wallet.info?.name], () => (account
    ? h("button", { type: "button", id: "connect", class: "account", onclick: () => accountDialog() },
        h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "unseen" }, "Connected: "), `${account.slice(0, 6)}…${account.slice(-4)}`)
    : h("button", { type: "button", id: "connect", class: "quiet", onclick: () => pick() }, "Connect", h("span", { class: "long" }, "\u00a0a wallet"))));
  app.redraw();
}

async function accountDialog() {
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
    message.replaceChildren(visible(`${choice.info.name} asks you whether this page may see your address.`));
    try {
      if (await app.wallet.connect(choice)) dialog.close();
      else message.replaceChildren("You declined in the wallet. Nothing has changed.");
    } catch (error) {
      const { title, why, fix } = await explain(error, app.run);
      message.replaceChildren(visible(`${title}. ${why} ${fix}`));
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
      : framed() ? h("p", {}, "This page is shown within another page, which could cover what you should read. Nothing is signed here: ",
          h("a", { href: location.href, target: "_blank", rel: "noopener" }, "open it by itself"), ".")
      : h("p", {}, "No wallet has announced itself in this browser. Install a wallet extension, or open this page inside a wallet's own browser. ",
          "Without one you can read everything, and fund by ", h("code", {}, "commonweight fund deposit"), "."),
    message,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(app.wallet.connected), { once: true }));
}

async function switchChain() {
  app.switchProblem = null;
  try {
    if (!(await app.wallet.switchTo(app.run.chainId, app.config.rpc))) say("Nothing has changed.");
  } catch (error) {
    app.switchProblem = await explain(error, app.run);
  }
  app.notices();
}
