// A distribution over time as the rows and columns of a heat map. Pure.

import type { BucketsAnswer } from '../api/types';
import { held, LATE_STEPS, type Table } from './data';

export interface Heat {
  startS: number;
  endS: number;
  stepS: number;
  /** The buckets that are drawn: from the first to the last that hold something, a few more on either side. */
  from: number;
  to: number;
  /** Lower bounds, ns. */
  bounds: readonly number[];
  /** Values by column and bucket - `from`. */
  cells: Float64Array[];
  /** How many steps before it each column stands for too: a tick that came late. */
  late: number[];
  most: number;
  total: number;
  p50: readonly (number | null)[];
  p95: readonly (number | null)[];
  p99: readonly (number | null)[];
}

const MARGIN = 2;
/** Fewer rows than this would be a few thick bars. */
const LEAST_ROWS = 24;

export function heatOf(answer: BucketsAnswer): Heat {
  const bounds = answer.bounds_ns;
  let [from, to] = [Infinity, -Infinity];
  for (const step of answer.steps) {
    for (const [bucket] of step?.buckets ?? []) {
      if (bucket < from) from = bucket;
      if (bucket > to) to = bucket;
    }
  }
  if (from > to) [from, to] = [0, LEAST_ROWS];
  const missing = Math.max(0, LEAST_ROWS - (to - from + 1 + 2 * MARGIN));
  from = Math.max(0, from - MARGIN - Math.floor(missing / 2));
  to = Math.min(bounds.length - 1, to + MARGIN + Math.ceil(missing / 2));
  let [most, total] = [0, 0];
  const cells = answer.steps.map((step) => {
    const column = new Float64Array(to - from + 1);
    for (const [bucket, count] of step?.buckets ?? []) {
      column[bucket - from] = count;
      if (count > most) most = count;
      total += count;
    }
    return column;
  });
  let hole = Infinity;
  const late = answer.steps.map((step) => {
    const before = hole;
    hole = step === null ? hole + 1 : 0;
    return step !== null && before <= LATE_STEPS ? before : 0;
  });
  const of = (key: 'p50_ns' | 'p95_ns' | 'p99_ns') => held(answer.steps.map((step) => step?.[key] ?? null));
  return {
    startS: answer.start_ns / 1e9,
    endS: answer.end_ns / 1e9,
    stepS: answer.step_ns / 1e9,
    from,
    to,
    bounds,
    cells,
    late,
    most,
    total,
    p50: of('p50_ns'),
    p95: of('p95_ns'),
    p99: of('p99_ns'),
  };
}

/** Where a value lies, in buckets from the first that is drawn; between bounds in proportion. */
export function place(heat: Heat, ns: number): number {
  const { bounds } = heat;
  let low = 0;
  let high = bounds.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (bounds[middle]! <= ns) low = middle;
    else high = middle - 1;
  }
  const next = bounds[low + 1];
  const part = next === undefined ? 0.5 : (ns - bounds[low]!) / (next - bounds[low]!);
  return low + Math.min(1, part) - heat.from;
}

/** Powers of ten that are drawn. */
export function valueTicks(heat: Heat): number[] {
  const ticks: number[] = [];
  // The last bucket has no end: no value has a place of its own in it.
  for (let ns = 1; ns < heat.bounds[heat.bounds.length - 1]!; ns *= 10) {
    const at = place(heat, ns);
    if (at >= 1 && at <= heat.to - heat.from + 0.5 && ns >= (heat.bounds[heat.from + 1] ?? 0)) ticks.push(ns);
  }
  return ticks;
}

export function heatTable(answer: BucketsAnswer): Table {
  const rows = answer.steps.flatMap((step, i) => {
    const time = new Date((answer.start_ns + i * answer.step_ns) / 1e6).toISOString();
    return (step?.buckets ?? []).map(([bucket, count]) => [
      time,
      answer.bounds_ns[bucket],
      answer.bounds_ns[bucket + 1] ?? null,
      count,
    ]);
  });
  return { head: ['time', 'from_ns', 'to_ns', 'count'], rows };
}
