// The loss curve: one line, drawn as SVG, with the same figures as a table for those who do not see it.

import { h, svg, table } from "./dom.js";
import { nats } from "./money.js";

const [HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [240, 48, 32, 14, 14];

/** `points` are {round, epoch, loss (micro-nats)} in order of rounds. */
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
      + "the signers evaluate the last checkpoint of an epoch, rounds between are not evaluated. A hollow point is still open to challenge.")),
    h("details", { id: "loss-table" }, h("summary", {}, "The same as a table"),
      table("Held-out loss by round", ["Round", "Epoch", "Loss (nats a token)", "State"],
        points.map((p) => [String(p.round), String(p.epoch), nats(p.loss), p.final ? "final" : "open to challenge"]), "")),
  ];
}
