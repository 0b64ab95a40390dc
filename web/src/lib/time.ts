// The one time range of all charts: the last so-many seconds, or a piece of the past. Pure: the clock is handed in.

export type TimeRange = { kind: 'live'; spanS: number } | { kind: 'past'; startS: number; endS: number };

/** What another window is: so long ago, or one that begins at an instant. */
export type Against = { kind: 'ago'; agoS: number } | { kind: 'at'; startS: number };

export const DEFAULT_RANGE: TimeRange = { kind: 'live', spanS: 900 };

export const LIVE_SPANS: readonly number[] = [120, 300, 900, 3_600, 6 * 3_600, 86_400, 7 * 86_400];

/** History is not finer. */
export const SHORTEST_S = 5;

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
];

/** `90` becomes `1m30s`. */
export function span(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds));
  if (rest === 0) return '0s';
  let text = '';
  for (const [unit, size] of UNITS) {
    const whole = Math.floor(rest / size);
    if (whole > 0) text += `${whole}${unit}`;
    rest -= whole * size;
  }
  return text;
}

/** `1m30s` becomes 90; `null` for what is no length of time. */
export function parseSpan(text: string): number | null {
  if (!/^(\d+[dhms])+$/.test(text)) return null;
  let seconds = 0;
  for (const [, number, unit] of text.matchAll(/(\d+)([dhms])/g)) {
    seconds += Number(number) * UNITS.find(([name]) => name === unit)![1];
  }
  return Number.isSafeInteger(seconds) && seconds > 0 ? seconds : null;
}

const round = (seconds: number) => Math.round(seconds * 1_000) / 1_000;

export function formatRange(range: TimeRange): string {
  return range.kind === 'live' ? span(range.spanS) : `${round(range.startS)}~${round(range.endS)}`;
}

/** The range in a link; `null` for what is none. */
export function parseRange(text: string): TimeRange | null {
  const spanS = parseSpan(text);
  if (spanS !== null) return { kind: 'live', spanS };
  const match = /^(\d+(?:\.\d+)?)~(\d+(?:\.\d+)?)$/.exec(text);
  if (!match) return null;
  const [startS, endS] = [Number(match[1]), Number(match[2])];
  return endS > startS && endS < 1e11 ? { kind: 'past', startS, endS } : null;
}

export function formatAgainst(against: Against): string {
  return against.kind === 'ago' ? span(against.agoS) : `@${round(against.startS)}`;
}

export function parseAgainst(text: string): Against | null {
  const agoS = parseSpan(text);
  if (agoS !== null) return { kind: 'ago', agoS };
  const match = /^@(\d+(?:\.\d+)?)$/.exec(text);
  return match && Number(match[1]) < 1e11 ? { kind: 'at', startS: Number(match[1]) } : null;
}

export interface Bounds {
  startS: number;
  endS: number;
}

export function bounds(range: TimeRange, nowS: number): Bounds {
  return range.kind === 'live' ? { startS: nowS - range.spanS, endS: nowS } : range;
}

export function lengthS(range: TimeRange): number {
  return range.kind === 'live' ? range.spanS : range.endS - range.startS;
}

/** The range of a drag across a chart, in either direction; `null` if it was only a click. */
export function zoomed(fromS: number, toS: number, leastS = SHORTEST_S): TimeRange | null {
  const [startS, endS] = fromS < toS ? [fromS, toS] : [toS, fromS];
  if (endS - startS < leastS / 5) return null;
  const missing = Math.max(0, leastS - (endS - startS)) / 2;
  return { kind: 'past', startS: startS - missing, endS: endS + missing };
}

/** Twice as long around the same middle, but not into the future. */
export function widened(range: TimeRange, nowS: number): TimeRange {
  if (range.kind === 'live') return { kind: 'live', spanS: range.spanS * 2 };
  const half = (range.endS - range.startS) / 2;
  const endS = Math.min(range.endS + half, nowS);
  return { kind: 'past', startS: endS - half * 4, endS };
}

/** Earlier (-1) or later (1) by half its length; what would pass the present becomes live. */
export function shifted(range: TimeRange, direction: -1 | 1, nowS: number): TimeRange {
  const { startS, endS } = bounds(range, nowS);
  const by = ((endS - startS) / 2) * direction;
  if (direction === 1 && endS + by >= nowS - 1) return { kind: 'live', spanS: Math.round(endS - startS) };
  return { kind: 'past', startS: startS + by, endS: endS + by };
}

/** Steps that people read easily, and that history has whole points for. */
const STEPS: readonly number[] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 21_600, 86_400];

/** The step that gives a chart of so many pixels about a point in every two of them. */
export function stepS(lengthS: number, pixels: number): number {
  const wanted = lengthS / Math.max(30, Math.min(600, pixels / 2));
  return STEPS.find((step) => step >= wanted) ?? Math.ceil(lengthS / 600 / 86_400) * 86_400;
}

/** Parameters `start` and `end` of the API. */
export function queryOf(range: TimeRange): { start: string; end: string } {
  if (range.kind === 'live') return { start: `-${range.spanS}s`, end: 'now' };
  return { start: round(range.startS).toString(), end: round(range.endS).toString() };
}

/** Where the other window begins, as the API takes it. */
export function againstOf(range: TimeRange, against: Against): string {
  if (against.kind === 'at') return round(against.startS).toString();
  if (range.kind === 'live') return `-${range.spanS + against.agoS}s`;
  return round(range.startS - against.agoS).toString();
}
