// What charts and heat maps share so that their time axes lie under each other.

/** Room for the labels of values, left of what is drawn. */
export const GUTTER_PX = 68;
/** Room to its right. */
export const PAD_PX = 10;
/** As wide as a label of time gets. */
export const LABEL_PX = 52;

const two = (number: number) => String(number).padStart(2, '0');

/** The label of an instant on an axis whose labels are `incrS` apart. */
export function axisTime(seconds: number, incrS: number): string {
  const date = new Date(seconds * 1_000);
  if (incrS >= 86_400) return date.toLocaleDateString([], { day: 'numeric', month: 'short' });
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return incrS < 60 ? `${minutes}:${two(date.getSeconds())}` : minutes;
}

const INCREMENTS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/** Where labels of a time axis go, at least `spacePx` apart. */
export function timeTicks(startS: number, endS: number, px: number, spacePx = 70): { at: number[]; incrS: number } {
  const wanted = ((endS - startS) / Math.max(1, px)) * spacePx;
  const incrS = INCREMENTS.find((incr) => incr >= wanted) ?? INCREMENTS[INCREMENTS.length - 1]!;
  // Days begin at local midnight.
  const shift = incrS >= 3_600 ? new Date(startS * 1_000).getTimezoneOffset() * 60 : 0;
  const at: number[] = [];
  for (let tick = Math.ceil((startS - shift) / incrS) * incrS + shift; tick <= endS; tick += incrS) at.push(tick);
  return { at, incrS };
}
