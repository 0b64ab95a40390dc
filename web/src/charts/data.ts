// From an answer of the API to what a chart draws and what a file holds. Pure.

import type { QueryAnswer, QuerySeries } from '../api/types';
import type { Cell } from '../lib/csv';
import type { Unit } from '../lib/format';

export interface Line {
  label: string;
  /** A variable of the style sheet. */
  colour: string;
  values: (number | null)[];
  /** Those of the other window. */
  against?: (number | null)[];
}

export interface ChartData {
  startS: number;
  endS: number;
  stepS: number;
  /** How many steps there are. */
  length: number;
  lines: Line[];
  unit: Unit;
}

/** Steps that may pass between two ticks of a busy machine. */
export const LATE_STEPS = 3;

/** For drawing: a tick that comes late tells of the steps before it too, so they have its value. Longer holes stay. */
export function held(values: readonly (number | null)[]): readonly (number | null)[] {
  // Most often there is no hole: then nothing is copied.
  let result: (number | null)[] | null = null;
  let hole = 0;
  let isKnown = false;
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i]!;
    if (value === null) {
      hole += 1;
      continue;
    }
    if (isKnown && hole > 0 && hole <= LATE_STEPS) (result ??= values.slice()).fill(value, i - hole, i);
    hole = 0;
    isKnown = true;
  }
  return result ?? values;
}

export interface Table {
  head: string[];
  rows: Cell[][];
}

/** The unit of an answer's values: of a rate, that per second, except that seconds per second are a number of threads or CPUs. */
export function unitOf(answer: Pick<QueryAnswer, 'unit' | 'fn' | 'kind'>): Unit {
  if (answer.fn === 'count' || (answer.kind === 'distribution' && answer.fn === 'increase')) return 'count';
  if (answer.kind === 'distribution' && answer.fn === 'rate') return 'perSecond';
  const isRate = answer.fn === 'rate';
  switch (answer.unit) {
    case 'seconds':
      return isRate ? 'cores' : 'time';
    case 'bytes':
      return isRate ? 'bytesPerSecond' : 'bytes';
    case 'ratio':
      return 'share';
    case 'count':
      return isRate ? 'perSecond' : 'count';
  }
}

export function lengthOf(answer: Pick<QueryAnswer, 'start_ns' | 'end_ns' | 'step_ns'>): number {
  return Math.round((answer.end_ns - answer.start_ns) / answer.step_ns);
}

export interface Style {
  label: (labels: Record<string, string>) => string;
  colour?: (labels: Record<string, string>, place: number) => string;
  /** Lower comes first; the order of the API when not said. */
  order?: (labels: Record<string, string>) => number;
  unit?: Unit;
  /** Whether lines that are 0 throughout are left out. */
  withoutZeros?: boolean;
  /** The most lines; what is beyond goes into one called `others`. */
  most?: number;
}

const PALETTE = 8;

function weight(series: QuerySeries): number {
  return series.values.reduce<number>((sum, value) => sum + Math.abs(value ?? 0), 0);
}

export function chartOf(answer: QueryAnswer, style: Style): ChartData {
  let series = answer.series;
  const { most, order } = style;
  const others: Line[] = [];
  if (style.withoutZeros)
    series = series.filter(({ values, against }) =>
      [...values, ...(against ?? [])].some((value) => value !== null && value !== 0),
    );
  const length = lengthOf(answer);
  if (most !== undefined && series.length > most) {
    const ranked = [...series].sort((a, b) => weight(b) - weight(a));
    others.push(together(ranked.slice(most - 1), length));
    series = ranked.slice(0, most - 1);
  }
  if (order) series = [...series].sort((a, b) => order(a.labels) - order(b.labels));
  const lines = series.map(({ labels, values, against }, place): Line => {
    const line: Line = {
      label: style.label(labels),
      colour: style.colour?.(labels, place) ?? `--series-${place % PALETTE}`,
      values,
    };
    if (against) line.against = against;
    return line;
  });
  const startS = answer.start_ns / 1e9;
  const endS = answer.end_ns / 1e9;
  const unit = style.unit ?? unitOf(answer);
  return { startS, endS, stepS: answer.step_ns / 1e9, length, lines: [...lines, ...others], unit };
}

function together(series: readonly QuerySeries[], length: number): Line {
  const values = Array.from({ length }, (_, i) =>
    series.reduce<number | null>((sum, { values }) => {
      const value = values[i];
      return value === null || value === undefined ? sum : (sum ?? 0) + value;
    }, null),
  );
  return { label: `${series.length} others`, colour: '--series-7', values };
}

/** Each step's parts of its sum. */
export function asShares(data: ChartData): ChartData {
  const sums = Array.from({ length: data.length }, (_, i) =>
    data.lines.reduce((sum, { values }) => sum + (values[i] ?? 0), 0),
  );
  const share = (value: number | null, i: number) => (value === null || sums[i] === 0 ? null : value / sums[i]!);
  return {
    ...data,
    unit: 'share',
    lines: data.lines.map(({ label, colour, values }) => ({ label, colour, values: values.map(share) })),
  };
}

/** Lines on top of each other, the first at the bottom. */
export function stacked(lines: readonly (readonly (number | null)[])[]): (number | null)[][] {
  const sums: (number | null)[] = new Array<number | null>(lines[0]?.length ?? 0).fill(null);
  return lines.map((values) => {
    values.forEach((value, at) => {
      if (value !== null) sums[at] = (sums[at] ?? 0) + value;
    });
    return [...sums];
  });
}

export function tableOf({ startS, stepS, length, lines }: ChartData): Table {
  const hasAgainst = lines.some(({ against }) => against);
  const head = lines.flatMap(({ label }) => (hasAgainst ? [label, `${label} (other window)`] : [label]));
  const rows = Array.from({ length }, (_, i): Cell[] => [
    new Date((startS + i * stepS) * 1_000).toISOString(),
    ...lines.flatMap(({ values, against }) => (hasAgainst ? [values[i], against?.[i]] : [values[i]])),
  ]);
  return { head: ['time', ...head], rows };
}

/** The last value that is known. */
export function last(values: readonly (number | null)[]): number | null {
  for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] !== null) return values[i]!;
  return null;
}

/** The mean of what is known. */
export function mean(values: readonly (number | null)[] | undefined): number | null {
  let [sum, count] = [0, 0];
  for (const value of values ?? []) {
    if (value === null) continue;
    sum += value;
    count += 1;
  }
  return count > 0 ? sum / count : null;
}
