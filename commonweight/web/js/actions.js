// From a button to a transaction: the wallet is asked nothing before the person has read what will happen.

import { encodeCall } from "./abi.js";
import { checksum } from "./crypto.js";
import { copyable, definitions, find, h, say } from "./dom.js";
import { declined, explain } from "./errors.js";
import { readable } from "./money.js";
import { chainName } from "./run.js";

/**
 * Show what a transaction does and send it if the person says so.
 *
 * `action` has a `title`, `rows` for the person ([name, value]), what it calls ({to, name, values, value}), and perhaps
 * `first`: steps before it, each {label, doing, run(context)} that may return another call to make in its place, named by `calls`.
 * `account` is whose it is, where that was settled before; no other pays for it.
 */
export async function review(app, action) {
  const dialog = find("review");
  const body = h("div", { class: "review" });
  dialog.replaceChildren(body);
  if (!dialog.open) dialog.showModal();
  const context = { app, dialog, body, action, account: action.account ?? app.wallet.account };
  context.show = (rows, buttons, message) => draw(context, rows, buttons, message);
  try {
    await present(context);
  } catch (error) {
    await problem(context, error);
  }
}

const button = (label, onclick, kind = "") => h("button", { type: "button", class: kind, onclick }, label);
const back = (dialog, label = "Back") => button(label, () => dialog.close(), "quiet");

function draw({ body, action }, rows, buttons, message) {
  body.replaceChildren(
    h("h2", { id: "review-title", tabindex: "-1" }, action.title),
    rows ? definitions(rows) : "",
    h("div", { class: "message", role: "status", "aria-live": "polite" }, message ?? ""),
    h("div", { class: "buttons" }, buttons),
  );
  body.querySelector("h2").focus();
}

async function present(context) {
  const { app, dialog, action } = context;
  const { run, wallet } = app;
  if (wallet.chainId !== run.chainId) return wrongChain(context);
  context.show(null, [back(dialog)], "Reading the network fee…");
  const [contract, from, same] = await Promise.all([checksum(action.call.to), checksum(context.account), confirmed(wallet, run)]);
  if (same === false) return disagreement(context);
  const before = app.transactions.list.filter((one) => one.from === context.account && (one.state === "waiting" || app.transactions.lost(one)));
  const rows = [
    before.length > 0 && ["Still under way", before.map(({ title }) => title).join("; "), "sent from here by this account, or asked of its wallet, and not mined yet: what you confirm now comes on top of it"],
    ...action.rows,
    ["Contract", copyable(contract, "contract address", true), (action.calls ?? action.call.name).replace(".", ", function ")],
    ["From", copyable(from, "your address", true)],
    ["Chain", `${chainName(run.chainId)} (${run.chainId})`, !same ? "your wallet's node could not be asked about this run: check the contract yourself"
      : wallet.toldOf(run.chainId) ? "your wallet was told of this chain by this page, and so asks the same node: check the contract yourself"
      : "your wallet's own node names the same contracts for this run"],
  ];
  let fee = ["Network fee", "known after the first step"];
  if (!action.first?.length) {
    fee = await feeRow(context, action.call);
  }
  const steps = action.first?.length ? `${action.first.map(({ label }) => label).join(" ")} ` : "";
  context.show([...rows, fee], [back(dialog), button("Confirm in your wallet", () => carryOut(context, [...rows, fee]), "primary")],
    `${steps}Nothing has been sent yet.`);
}

/** Whether the wallet's own node tells the same of the run as the page's, which may lie about where money goes; null where it cannot be asked. */
async function confirmed(wallet, { told }) {
  try {
    const answers = await Promise.all(told.map(async ([to, name, answer]) => {
      const asked = wallet.request("eth_call", [{ to, data: encodeCall(name) }, "latest"]);
      return answer === null ? asked.then((one) => one === "0x", () => true) : (await asked).toLowerCase() === answer.toLowerCase();
    }));
    return answers.every(Boolean);
  } catch {
    return null;
  }
}

function disagreement(context) {
  context.show(null, [back(context.dialog, "Close")], h("div", { class: "problem", role: "alert" },
    h("strong", {}, "Two nodes tell different things of this run"),
    h("p", {}, "The node that this page reads and your wallet's own node name different contracts or terms. One of them is wrong or lies, so nothing can be sent from here."),
    h("p", {}, "Open the page with an RPC address that you trust, or ask whoever runs this site.")));
}

async function feeRow(context, call) {
  const { wallet } = context.app;
  const [gas, price] = await Promise.all([wallet.request("eth_estimateGas", [transaction(context, call)]), wallet.request("eth_gasPrice")]);
  call.gas = (BigInt(gas) * 5n) / 4n;  // another transaction may come first and make this one dearer
  return ["Network fee", `about ${readable(BigInt(gas) * BigInt(price), 18, 10)} ETH`, `${BigInt(gas)} gas`];
}

const transaction = ({ account }, { to, name, values, value }) => ({
  from: account, to, data: encodeCall(name, values), ...(value ? { value: `0x${value.toString(16)}` } : {}),
});

function wrongChain(context) {
  const { app, dialog } = context;
  const { wallet, run } = app;
  const ask = async () => {
    try {
      if (await wallet.switchTo(run.chainId, app.config.rpc)) await present(context);
      else wrongChain(context);
    } catch (error) {
      await problem(context, error);
    }
  };
  context.show([["Your wallet is on", chainName(wallet.chainId)], ["This run lives on", chainName(run.chainId)]],
    [back(dialog), button("Switch the wallet", ask, "primary")], "Nothing has been sent.");
}

/** The person has closed the review, or opened another. */
class Closed extends Error {}
class WrongChain extends Error {}

/** Before each question to the wallet: throws where what the person read holds no longer. */
export async function stands({ app, dialog, body, account }) {
  const { wallet, run } = app;
  const there = wallet.connected ? BigInt(await wallet.request("eth_chainId")) : null;
  if (!dialog.open || !body.isConnected) throw new Closed();
  if (wallet.account !== account) throw new Error("The wallet has changed to another account since you read this.");
  if (there === run.chainId) return;
  await wallet.refreshChain();
  throw new WrongChain();
}

async function carryOut(context, rows) {
  if (context.busy) return;
  context.busy = true;
  const { app, dialog, action } = context;
  context.tell = (message) => context.show(rows, [back(dialog, "Close")], message);
  try {
    let { call } = action;
    for (const step of action.first ?? []) {
      await stands(context);
      context.tell(step.doing);
      call = (await step.run(context)) ?? call;
    }
    await stands(context);
    if (action.first?.length) await feeRow(context, call);
    context.tell("Your wallet asks you to confirm.");
    await sendCall(context, call, action.title);
    action.sent?.();
    if (context.body.isConnected) dialog.close();
    say(`Sent: ${action.title}. Waiting to be mined.`);
    app.look();
  } catch (error) {
    if (error instanceof Closed) say("You closed it: nothing further was sent.");
    else if (error instanceof WrongChain) wrongChain(context);
    else if (declined(error)) {
      context.show(rows, [back(dialog), button("Confirm in your wallet", () => carryOut(context, rows), "primary")],
        "You declined in the wallet. Nothing was sent.");
    } else await problem(context, error);
  } finally {
    context.busy = false;
  }
}

/** Have the wallet send a call, and note it under a title; its hash. */
export async function sendCall(context, call, title) {
  const { app: { wallet, transactions, snapshot }, account } = context;
  const sent = transaction(context, call);
  const gas = call.gas ? { gas: `0x${call.gas.toString(16)}` } : {};
  const { from, ...plain } = sent;
  return transactions.add({ from: account, title, call: plain, since: snapshot.number },
    () => wallet.request("eth_sendTransaction", [{ ...sent, ...gas }]));
}

async function problem(context, error) {
  const { title, why, fix } = await explain(error, context.app.run);
  context.show(null, [back(context.dialog, "Close")], h("div", { class: "problem", role: "alert" },
    h("strong", {}, title), h("p", {}, why), fix ? h("p", {}, fix) : ""));
}
