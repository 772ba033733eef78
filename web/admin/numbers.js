// Owns how the console writes numbers: short, with their units, in the reader's language.

import { locale, t } from "../shared/language.js";

const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const tenth = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });

export const count = (number) => (number < 10_000 ? tenth.format(number) : short.format(number));
export const perSecond = (number) => t("per-second", count(number));
export const time = (us) => (us < 1_000 ? `${tenth.format(us)} µs` : us < 1_000_000 ? `${tenth.format(us / 1_000)} ms` : `${tenth.format(us / 1_000_000)} s`);

export function bytes(number) {
  const power = number < 1_024 ? 0 : Math.min(4, Math.floor(Math.log2(number) / 10));
  return `${tenth.format(number / 1_024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** "3 days", "2 h", "5 min", "12 s": the largest unit is enough to compare by. */
export function duration(seconds) {
  const [unit, size] = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]].find(([, least]) => seconds >= least) ?? ["second", 1];
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "short" }).format(Math.floor(seconds / size));
}
