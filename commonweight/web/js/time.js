// Times are the chain's, in seconds: a deadline is compared with the last block and never with this computer's clock.

const DATE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

export const when = (seconds) => `${DATE.format(new Date(Number(seconds) * 1000))} UTC`;

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
