// What several views show the same way: amounts, times, breakdowns, the loss curve. Every file of the first look costs round trips.

import { copyable, h, later, svg, table } from "../dom.js";
import { exact, nats, percent, readable, tenths } from "../money.js";

/** An amount of the run's asset: short to read, exact in its title. */
export function money(run, value) {
  const { decimals, symbol } = run.asset;
  const text = `${exact(value, decimals)} ${symbol}`;
  return h("span", { class: "money", title: text }, `${readable(value, decimals)} ${symbol}`);
}

/** The same exactly, for what is about to be signed or is somebody's own. */
export const exactly = (run, value) => `${exact(value, run.asset.decimals)} ${run.asset.symbol}`;

/** A stacked bar with its legend. `pieces` are [kind, label, amount, note?]. */
export function breakdown(run, label, pieces, whole) {
  const shown = pieces.filter(([, , amount]) => amount > 0n);
  return [
    h("div", { class: "stack", role: "img", "aria-label": `${label}: ${shown.map(([, name, amount]) => `${name} ${percent(amount, whole)}`).join(", ")}` },
      shown.map(([kind, , amount]) => h("span", { class: kind, "data-tenths": tenths(amount, whole) }))),
    h("ul", { class: "legend" }, pieces.map(([kind, name, amount, note]) => h("li", {},
      h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }),
      h("span", { class: "name" }, name, note && h("span", { class: "note" }, note)),
      h("span", { class: "amount" }, money(run, amount))))),
  ];
}

export const card = (id, title, ...children) =>
  h("section", { class: "card", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), children);

export const pending = (text) => h("p", { class: "loading" }, text);

/** What could not be had, by name. */
export const unavailable = (what, error) => h("div", { class: "notice warn" }, h("strong", {}, `${what} cannot be shown.`), ` ${error.message}`);

export const address = (value, name = "address") => copyable(value, name);

/** Loads once per key and redraws; `get` gives the value, an Error, or undefined while it is under way. */
export class Loader {
  #key = null; #value;

  constructor(redraw) {
    this.redraw = redraw;
  }

  get(key, load) {
    if (key !== this.#key) {
      this.#key = key;
      this.#value = undefined;
      load().catch((error) => (error instanceof Error ? error : new Error(String(error)))).then((value) => {
        if (this.#key !== key) return;
        this.#value = value;
        this.redraw();
      });
    }
    return this.#value;
  }

  forget() {
    this.#key = null;
  }
}

// --- times ------------------------------------------------------------------------------------------------------------

// They are the chain's, in seconds: a deadline is compared with the last block and never with this computer's clock.
const DATE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

const END_OF_DATES = 8_640_000_000_000n;

export const when = (seconds) => (seconds > END_OF_DATES ? "the end of time" : `${DATE.format(new Date(Number(seconds) * 1000))} UTC`);

export function span(seconds) {
  const total = Math.max(0, Number(seconds));
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const count = Math.floor(total / length);
    if (count >= (unit === "minute" ? 1 : 2) || (unit !== "minute" && count === 1 && total % length === 0)) {
      return `${count} ${unit}${count === 1 ? "" : "s"}`;
    }
  }
  return `${Math.floor(total)} second${Math.floor(total) === 1 ? "" : "s"}`;
}

export const relative = (seconds, now) =>
  seconds > now ? `in ${span(seconds - now)}` : `${span(now - seconds)} ago`;

// --- the loss curve ---------------------------------------------------------------------------------------------------

const [HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [240, 48, 32, 14, 14];

/** One line, drawn as SVG, with the same figures as a table for those who do not see it. `points` are {round, epoch, loss (micro-nats)} in order of rounds. */
export function lossCurve(points) {
  if (points.length === 0) return h("p", { class: "empty" }, "No checkpoint is attested yet: the curve begins with the first report.");
  const width = globalThis.innerWidth < 480 ? 340 : 560;  // so that its text is about as large as the page's
  const rounds = points.map((p) => Number(p.round));
  const losses = points.map((p) => Number(p.loss));
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const slack = Math.max((high - low) * 0.12, high * 0.005, 1);
  const [y0, y1] = [Math.max(0, low - slack), high + slack];
  const [x0, x1] = [Math.min(...rounds), Math.max(...rounds)];
  const x = (round) => (x1 === x0 ? (LEFT + width - RIGHT) / 2 : LEFT + ((round - x0) / (x1 - x0)) * (width - LEFT - RIGHT));
  const y = (loss) => TOP + ((y1 - loss) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const ticks = Array.from({ length: 4 }, (_, place) => y0 + ((y1 - y0) * (place + 0.5)) / 4);
  const every = Math.max(1, Math.ceil(points.length / 8));
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`, class: "curve", role: "img",
    "aria-label": `Held-out loss by round: ${nats(points[0].loss)} nats after round ${points[0].round}, `
      + `${nats(points.at(-1).loss)} after round ${points.at(-1).round}.`,
  },
    ticks.map((tick) => [
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: LEFT - 8, y: y(tick) + 4, class: "tick end" }, nats(BigInt(Math.round(tick))).slice(0, 5)),
    ]),
    points.filter((_, place) => place % every === 0 || place === points.length - 1).map((p) =>
      svg("text", { x: x(Number(p.round)), y: HEIGHT - 12, class: "tick middle" }, String(p.round))),
    svg("polyline", { points: points.map((p) => `${x(Number(p.round))},${y(Number(p.loss))}`).join(" "), class: "line" }),
    points.map((p) => svg("circle", { cx: x(Number(p.round)), cy: y(Number(p.loss)), r: 4.5, class: p.final ? "dot" : "dot open" },
      svg("title", {}, `Round ${p.round}, epoch ${p.epoch}: ${nats(p.loss)} nats a token`))));
  return [
    h("figure", {}, picture, h("figcaption", {}, "Held-out loss in nats a token, by round; lower is better. One point for each report: "
      + "the signers evaluate the last checkpoint of an epoch, rounds between are not evaluated. A hollow point is of a report that is not final yet.")),
    later("loss-table", "The same as a table", () =>
      table("Held-out loss by round", ["Round", "Epoch", "Loss (nats a token)", "State"],
        points.map((p) => [String(p.round), String(p.epoch), nats(p.loss), p.final ? "final" : "not final yet"]), "")),
  ];
}
