// What went wrong, in words: the contracts' own errors by name, wallets' codes, a chain that does not answer.

import { decode } from "./abi.js";
import { RpcError, Unreachable } from "./rpc.js";
import { exactly, when } from "./views/parts.js";

const USER_REJECTED = 4001;

/** The account holds less than what is to be paid. */
export class NotEnough extends Error {}

/** Whether the person at the wallet said no. */
export const declined = (error) => codes(error).includes(USER_REJECTED) || error?.code === "ACTION_REJECTED";
export const unknownChain = (error) => codes(error).includes(4902);

/** Wallets wrap errors differently: the code may lie one or two levels down. */
function codes(error) {
  return [error, error?.data, error?.error, error?.cause, error?.data?.originalError, error?.info?.error].map((e) => e?.code);
}

/** {title, why, fix} for an error, with the contract's name for it where there is one, of a run whose asset amounts are in. */
export async function explain(error, run) {
  const data = revertData(error);
  if (data !== null && data.length >= 10) {
    const { ERRORS } = await import("./generated/explanations.js");
    const known = ERRORS[data.slice(0, 10)];
    if (known) {
      const [name, inputs, kinds, why, fix] = known;
      return { title: name, why: `The contract refuses: ${why || name}${values(inputs, kinds, data, run)}.`, fix };
    }
    if (data.startsWith("0x08c379a0")) {
      return { title: "Refused", why: `The contract refuses: ${decode([["", "string"]], `0x${data.slice(10)}`)[0]}`, fix: "" };
    }
  }
  if (error instanceof NotEnough) return { title: "Not enough funds", why: error.message, fix: "Put funds into the account, or give less." };
  const text = [error?.message, error?.data?.message].filter(Boolean).join(" ");
  if (/insufficient funds|exceeds (the )?balance/i.test(text)) {
    return { title: "Not enough funds", why: "The account cannot pay the amount and the network fee.", fix: "Put funds into the account, or give less." };
  }
  if (error instanceof Unreachable) {
    return { title: "The chain does not answer", why: error.message, fix: "Nothing was sent. Try again in a moment." };
  }
  if (codes(error).includes(-32002)) {
    return { title: "Your wallet is waiting", why: "A question is open in the wallet already.", fix: "Open the wallet and answer it." };
  }
  return { title: "That did not work", why: text || "No reason was given.", fix: "Nothing further was sent. Try again." };
}

function values(inputs, kinds, data, run) {
  if (inputs.length === 0) return "";
  try {
    const found = decode(inputs, `0x${data.slice(10)}`);
    return ` (${inputs.map(([name], place) => `${inWords(name || "value")}: ${SHOWN[kinds[place]](found[place], run)}`).join(", ")})`;
  } catch { return ""; }
}

const SHOWN = { amount: (value, run) => exactly(run, value), time: (value) => when(value), "": (value) => `${value}` };
const inWords = (name) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** The revert's bytes, wherever node or wallet put them; null where it is no revert. */
export function revertData(error) {
  for (const place of [error?.data, error?.data?.data, error?.error?.data, error?.data?.originalError?.data, error?.info?.error?.data, error?.data?.result]) {
    if (typeof place === "string") {
      const found = /0x(?:[0-9a-fA-F]{2}){4,}/.exec(place);
      if (found) return found[0];
    }
  }
  const inText = /(?:custom error |data[":=\s]+)(0x[0-9a-fA-F]{8,})/.exec(error?.message ?? "");
  return inText ? inText[1] : null;
}

export { RpcError };
