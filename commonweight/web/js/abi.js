// The ABI as far as the page needs it. Addresses are lower-case text, bytes are 0x text, integers above 32 bits are BigInt.

import { EVENTS, FUNCTIONS } from "./generated/abi.js";

const WORD = 64;

/** Call data of "Contract.function". */
export function encodeCall(name, values = []) {
  const [selector, inputs] = FUNCTIONS[name];
  return selector + encode(inputs, values);
}

/** The result of "Contract.function": the value itself where there is one, else an object by name. */
export function decodeResult(name, data) {
  const outputs = FUNCTIONS[name][2];
  if (data === "0x" && outputs.length > 0) throw new Error(`${name} gave no answer: there is no such contract here.`);
  const values = decode(outputs, data);
  return outputs.length === 1 ? values[0] : named(outputs, values);
}

/** A log as {name, args}, null for an event that the page does not know. */
export function decodeLog({ topics, data }) {
  const entry = EVENTS[topics[0]];
  if (entry === undefined) return null;
  const [name, indexed, inputs] = entry;
  const rest = decode(inputs.filter((_, place) => indexed[place] === "0"), data);
  let topic = 0;
  const args = {};
  inputs.forEach(([key, type], place) => {
    args[key] = indexed[place] === "1" ? decode([["", type]], topics[(topic += 1)])[0] : rest.shift();
  });
  return { name, args };
}

export const topicOf = (name) => Object.keys(EVENTS).find((topic) => EVENTS[topic][0] === name);

const named = (params, values) => Object.fromEntries(params.map(([name], place) => [name || place, values[place]]));
const isDynamic = ([, type, parts]) =>
  type === "string" || type === "bytes" || type.endsWith("[]") || (type === "tuple" && parts.some(isDynamic));
const headWords = (param) =>
  isDynamic(param) || param[1] !== "tuple" ? 1 : param[2].reduce((sum, part) => sum + headWords(part), 0);
const element = ([name, type, parts]) => [name, type.slice(0, -2), parts];

// --- decoding ---------------------------------------------------------------------------------------------------------

export function decode(params, data) {
  return decodeTuple(params, data.startsWith("0x") ? data.slice(2) : data, 0);
}

function decodeTuple(params, hex, base) {
  let at = base;
  return params.map((param) => {
    const place = isDynamic(param) ? base + 2 * Number(wordAt(hex, at)) : at;
    at += WORD * headWords(param);
    return decodeValue(param, hex, place);
  });
}

function decodeValue(param, hex, at) {
  const [, type, parts] = param;
  if (type.endsWith("[]")) {
    const count = Number(wordAt(hex, at));
    if (count * WORD > hex.length) throw new Error("An array is longer than the data that holds it.");
    return decodeTuple(Array.from({ length: count }, () => element(param)), hex, at + WORD);
  }
  if (type === "tuple") return named(parts, decodeTuple(parts, hex, at));
  if (type === "bytes" || type === "string") {
    const length = 2 * Number(wordAt(hex, at));
    const body = hex.slice(at + WORD, at + WORD + length);
    if (body.length !== length) throw new Error("Bytes are cut off.");
    return type === "bytes" ? `0x${body}` : new TextDecoder().decode(fromHex(body));
  }
  const word = hex.slice(at, at + WORD);
  if (word.length !== WORD) throw new Error("The data is too short.");
  if (type === "address") return `0x${word.slice(24)}`;
  if (type === "bool") return BigInt(`0x${word}`) !== 0n;
  if (type.startsWith("bytes")) return `0x${word.slice(0, 2 * Number(type.slice(5)))}`;
  const value = BigInt(`0x${word}`);
  return Number(type.slice(4)) <= 32 ? Number(value) : value;
}

function wordAt(hex, at) {
  const word = hex.slice(at, at + WORD);
  if (word.length !== WORD) throw new Error("The data is too short.");
  return BigInt(`0x${word}`);
}

// --- encoding ---------------------------------------------------------------------------------------------------------

export function encode(params, values) {
  let offset = WORD * params.reduce((sum, param) => sum + headWords(param), 0);
  let heads = "";
  let tails = "";
  params.forEach((param, place) => {
    const body = encodeValue(param, values[place]);
    if (isDynamic(param)) {
      heads += word(BigInt(offset / 2));
      tails += body;
      offset += body.length;
    } else heads += body;
  });
  return heads + tails;
}

function encodeValue(param, value) {
  const [, type, parts] = param;
  if (type.endsWith("[]")) return word(BigInt(value.length)) + encode(value.map(() => element(param)), value);
  if (type === "tuple") return encode(parts, parts.map(([name]) => value[name]));
  if (type === "bytes" || type === "string") {
    const body = type === "bytes" ? value.slice(2) : toHex(new TextEncoder().encode(value));
    return word(BigInt(body.length / 2)) + body.padEnd(Math.ceil(body.length / WORD) * WORD, "0");
  }
  if (type.startsWith("bytes")) return value.slice(2).padEnd(WORD, "0");
  if (type === "address") return value.slice(2).toLowerCase().padStart(WORD, "0");
  if (type === "bool") return word(value ? 1n : 0n);
  return word(BigInt(value));
}

export function word(value) {
  if (value < 0n || value >= 1n << 256n) throw new Error("A number does not fit 256 bits.");
  return value.toString(16).padStart(WORD, "0");
}

export const toHex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
export function fromHex(hex) {
  const text = hex.startsWith("0x") ? hex.slice(2) : hex;
  const data = new Uint8Array(text.length / 2);
  for (let place = 0; place < data.length; place += 1) data[place] = parseInt(text.slice(2 * place, 2 * place + 2), 16);
  return data;
}
