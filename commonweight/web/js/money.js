// Amounts: whole smallest units as BigInt on one side, decimal text on the other. No floating point anywhere.

const MAX = 2n ** 256n;

/** Smallest units of an amount of whole units as people type it. Throws an Error with words for them. */
export function parseAmount(text, decimals) {
  const match = /^(\d+)(?:[.,](\d+))?$|^[.,](\d+)$/.exec(text.trim());
  if (match === null) throw new Error("Write an amount like 1.5.");
  if (/^\d+,\d{3}$/.test(text.trim())) throw new Error("Is the comma for thousands or for decimals? Write 1500, or 1.5.");
  const part = (match[2] ?? match[3] ?? "").replace(/0+$/, "");
  if (part.length > decimals) throw new Error(`Finer than the smallest unit: there are ${decimals} decimal places.`);
  const value = BigInt((match[1] ?? "0") + part.padEnd(decimals, "0"));
  if (value === 0n) throw new Error("Give an amount above zero.");
  if (value >= MAX) throw new Error("This amount is too large.");
  return value;
}

export function group(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** The exact amount in whole units, without trailing zeros. */
export function exact(value, decimals) {
  const digits = (value < 0n ? -value : value).toString().padStart(decimals + 1, "0");
  const part = digits.slice(digits.length - decimals).replace(/0+$/, "");
  const whole = digits.slice(0, digits.length - decimals);
  return `${value < 0n ? "−" : ""}${whole}${decimals > 0 && part ? `.${part}` : ""}`;
}

/** For reading: whole units grouped and at most `places` decimals, rounded down; `≈`, or `<` where nothing would be left. */
export function readable(value, decimals, places = 6) {
  const [whole, part = ""] = exact(value, decimals).split(".");
  const cut = part.slice(0, places).replace(/0+$/, "");
  const lost = part.length > places;
  if (lost && whole === "0" && cut === "") return `< 0.${"0".repeat(places - 1)}1`;
  return `${lost ? "≈ " : ""}${group(whole)}${cut ? `.${cut}` : ""}`;
}

/** `part` of `whole` in tenths of a percent, rounded down; 0 for nothing. */
export const tenths = (part, whole) => (whole === 0n ? 0 : Number((part * 1000n) / whole));

export function percent(part, whole) {
  const value = tenths(part, whole);
  if (value === 0 && part > 0n) return "< 0.1 %";
  return `${Math.trunc(value / 10)}${value % 10 ? `.${value % 10}` : ""} %`;
}

export const bps = (value) => `${exact(BigInt(value), 2)} %`;

/** Micro-nats as nats with three places. */
export const nats = (micro) => {
  const milli = ((micro + 500n) / 1000n).toString().padStart(4, "0");
  return `${milli.slice(0, -3)}.${milli.slice(-3)}`;
};

export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let scale = 0;
  let rest = value * 10n;
  while (rest >= 10000n && scale < units.length - 1) { rest /= 1000n; scale += 1; }
  return scale === 0 ? `${value} bytes` : `${exact(rest, 1)} ${units[scale]}`;
}
