// Numbers for people: three digits and a unit. What is not known is a dash, never 0.

export const NOTHING = '–';

type Known = number | null | undefined;

function isKnown(value: Known): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/** Three significant digits, without an exponent and without zeros that say nothing. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return Math.round(value).toString();
  const decimals = size >= 10 ? 1 : 2;
  if (size < 0.005) return Number(value.toPrecision(1)).toString();
  return value.toFixed(decimals);
}

function scaled(value: number, steps: readonly (readonly [number, string])[]): string {
  const last = steps[steps.length - 1]!;
  // What rounds up to the next unit is written in it: 999.6 ms is 1 s.
  const step = steps.find(([size]) => Math.abs(value) >= size * 0.9995) ?? last;
  // What cannot be divided has no decimals: 7 B, 7 events.
  if (step[0] === 1 && Number.isInteger(value)) return `${value} ${step[1]}`.trimEnd();
  return `${digits(value / step[0])} ${step[1]}`.trimEnd();
}

const TIMES = [
  [86_400e9, 'd'],
  [3_600e9, 'h'],
  [60e9, 'min'],
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
] as const;

/** Nanoseconds. */
export function time(ns: Known): string {
  if (!isKnown(ns)) return NOTHING;
  return ns === 0 ? '0' : scaled(ns, TIMES);
}

const SIZES = [
  [2 ** 40, 'TiB'],
  [2 ** 30, 'GiB'],
  [2 ** 20, 'MiB'],
  [2 ** 10, 'KiB'],
  [1, 'B'],
] as const;

export function bytes(value: Known): string {
  if (!isKnown(value)) return NOTHING;
  return value === 0 ? '0 B' : scaled(value, SIZES);
}

const COUNTS = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
] as const;

export function count(value: Known): string {
  if (!isKnown(value)) return NOTHING;
  return value === 0 ? '0' : scaled(value, COUNTS);
}

/** A share from 0 to 1. */
export function percent(share: Known): string {
  if (!isKnown(share)) return NOTHING;
  const value = share * 100;
  if (value !== 0 && Math.abs(value) < 0.05) return value > 0 ? '< 0.1 %' : '> −0.1 %';
  return `${Math.abs(value) >= 99.95 ? Math.round(value) : value.toFixed(1)} %`;
}

/** CPUs or threads on average. */
export function cores(value: Known): string {
  if (!isKnown(value)) return NOTHING;
  return value > 0 && value < 0.005 ? '< 0.01' : value.toFixed(2);
}

/** What a value of the API is in. */
export type Unit = 'time' | 'bytes' | 'bytesPerSecond' | 'count' | 'perSecond' | 'share' | 'cores';

/** A value of a chart. Times are in seconds there, as the API has them. */
export function formatUnit(value: Known, unit: Unit): string {
  if (!isKnown(value)) return NOTHING;
  switch (unit) {
    case 'time':
      return time(value * 1e9);
    case 'bytes':
      return bytes(value);
    case 'bytesPerSecond':
      return `${bytes(value)}/s`;
    case 'count':
      return count(value);
    case 'perSecond':
      return `${count(value)}/s`;
    case 'share':
      return percent(value);
    case 'cores':
      return cores(value);
  }
}

/** Marks that turn the direction of text, and control characters: shown, not obeyed. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** A name that others wrote, as text on one line: what cannot be seen is written out. */
export function name(text: string): string {
  return text.replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Wall time of an instant in ms: `14:02:05`, with the day when it is not today's. */
export function clock(ms: number, now = Date.now()): string {
  const date = new Date(ms);
  const text = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
  const isToday = new Date(now).toDateString() === date.toDateString();
  return isToday ? text : `${date.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${text}`;
}
