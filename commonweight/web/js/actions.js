// From a button to a transaction: the wallet is asked nothing before the person has read what will happen.

import { encodeCall } from "./abi.js";
import { checksum } from "./crypto.js";
import { copyable, definitions, find, h, say } from "./dom.js";
import { declined, explain } from "./errors.js";
import { exact } from "./money.js";
import { chainName } from "./run.js";

/**
 * Show what a transaction does and send it if the person says so.
 *
 * `action` has a `title`, `rows` for the person ([name, value]), what it calls ({to, name, values, value}), and perhaps
 * `first`: steps before it, each {label, doing, run(context)} that may return another call to make in its place, named by `calls`.
 */
export async function review(app, action) {
  const dialog = find("review");
  const body = h("div", { class: "review" });
  dialog.replaceChildren(body);
  dialog.showModal();
  const context = { app, dialog, body, action, account: app.wallet.account };
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
  const [contract, from, same] = await Promise.all([checksum(action.call.to), checksum(wallet.account), confirmed(wallet, run)]);
  if (same === false) return disagreement(context);
  const rows = [
    ...action.rows,
    ["Contract", copyable(contract, "contract address", true), (action.calls ?? action.call.name).replace(".", ", function ")],
    ["From", copyable(from, "your address", true)],
    ["Chain", `${chainName(run.chainId)} (${run.chainId})`, same ? "your wallet's own node names the same contracts for this run" : "your wallet's node could not be asked about this run: check the contract yourself"],
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
async function confirmed(wallet, { campaign, told }) {
  try {
    const answers = await Promise.all(Object.keys(told).map((name) => wallet.request("eth_call", [{ to: campaign, data: encodeCall(name) }, "latest"])));
    return Object.values(told).every((answer, place) => answer.toLowerCase() === answers[place].toLowerCase());
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

async function feeRow({ app }, call) {
  const [gas, price] = await Promise.all([
    app.wallet.request("eth_estimateGas", [transaction(app, call)]), app.wallet.request("eth_gasPrice"),
  ]);
  call.gas = (BigInt(gas) * 5n) / 4n;  // another transaction may come first and make this one dearer
  return ["Network fee", `about ${exact(BigInt(gas) * BigInt(price), 18).slice(0, 12)} ETH`, `${BigInt(gas)} gas`];
}

const transaction = (app, { to, name, values, value }) => ({
  from: app.wallet.account, to, data: encodeCall(name, values), ...(value ? { value: `0x${value.toString(16)}` } : {}),
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

async function carryOut(context, rows) {
  const { app, dialog, action } = context;
  const { wallet, run, transactions } = app;
  context.tell = (message) => context.show(rows, [back(dialog, "Close")], message);
  try {
    if (wallet.account !== context.account) throw new Error("The wallet has changed to another account since you read this.");
    let { call } = action;
    for (const step of action.first ?? []) {
      context.tell(step.doing);
      call = (await step.run(context)) ?? call;
    }
    if (BigInt(await wallet.request("eth_chainId")) !== run.chainId) {
      await wallet.refreshChain();
      return wrongChain(context);
    }
    if (action.first?.length) await feeRow(context, call);
    context.tell("Your wallet asks you to confirm.");
    const hash = await sendCall(app, call);
    transactions.add({ hash, from: wallet.account, title: action.title, call: plain(app, call) });
    action.sent?.();
    dialog.close();
    say(`Sent: ${action.title}. Waiting to be mined.`);
    app.look();
  } catch (error) {
    if (declined(error)) {
      context.show(rows, [back(dialog), button("Confirm in your wallet", () => carryOut(context, rows), "primary")],
        "You declined in the wallet. Nothing was sent.");
    } else await problem(context, error);
  }
}

export function sendCall(app, call) {
  const gas = call.gas ? { gas: `0x${call.gas.toString(16)}` } : {};
  return app.wallet.request("eth_sendTransaction", [{ ...transaction(app, call), ...gas }]);
}

export const plain = (app, call) => {
  const { to, data, value } = transaction(app, call);
  return { to, data, ...(value ? { value } : {}) };
};

async function problem(context, error) {
  const { title, why, fix } = await explain(error);
  context.show(null, [back(context.dialog, "Close")], h("div", { class: "problem", role: "alert" },
    h("strong", {}, title), h("p", {}, why), fix ? h("p", {}, fix) : ""));
}
