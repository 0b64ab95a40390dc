// Slow operations as a table: which of them lie in a window, in which order, and why there are none. Pure: clocks are handed in.

import type { OutlierList, OutlierRow } from '../api/types';
import type { Why } from './nothing';
import { bounds, type TimeRange } from './time';

/** The daemon keeps no more, s. */
export const KEPT_S = 600;

/** What a table can be sorted by: always the slowest, newest or largest first. */
export type OutlierOrder = 'latency' | 'time' | 'bytes';

const KEYS: Record<OutlierOrder, (row: OutlierRow) => number> = {
  latency: (row) => row.latency_ns,
  time: (row) => row.at,
  bytes: (row) => row.bytes,
};

/** How far back to ask, s; `null` for a window of which nothing can be left. A piece of the past needs all that is kept. */
export function askedS(range: TimeRange, nowS: number): number | null {
  if (range.kind === 'live') return Math.min(KEPT_S, Math.max(1, Math.round(range.spanS)));
  return range.endS > nowS - KEPT_S ? KEPT_S : null;
}

/** Those that ended in the window. What is live was cut by the daemon. */
export function inWindow(rows: readonly OutlierRow[], range: TimeRange, nowS: number): OutlierRow[] {
  if (range.kind === 'live') return [...rows];
  const { startS, endS } = bounds(range, nowS);
  return rows.filter(({ at }) => at >= startS * 1e9 && at < endS * 1e9);
}

/** The same rows in another order; of equal ones the newest first. */
export function ordered(rows: readonly OutlierRow[], order: OutlierOrder): OutlierRow[] {
  const key = KEYS[order];
  return [...rows].sort((a, b) => key(b) - key(a) || b.at - a.at);
}

/** Where it was: the file, or the place on the disk; `null` where neither is known. */
export function placeOf({ file, sector }: OutlierRow): string | null {
  return file ?? (sector === null ? null : `sector ${sector}`);
}

const WHAT: Record<OutlierRow['kind'], string> = { block: 'requests of disks', file: 'calls on files' };

/** Why a table has no rows; `null` is the answer for a window that is out of reach. */
export function whyNone(list: OutlierList | null): Pick<Why, 'title' | 'detail'> {
  if (list === null) {
    return {
      title: 'Nothing is kept of this window',
      detail: 'The slowest operations of the last ten minutes are kept, in memory.',
    };
  }
  if (list.missing.length > 0) {
    const [first] = list.missing;
    return {
      title: `Slow ${list.missing.map(({ kind }) => WHAT[kind]).join(' and ')} are not looked for`,
      detail: `To see them, ${first!.remedy}.`,
    };
  }
  return { title: 'Nothing slow in this window', detail: 'None was among the 16 slowest of the host in its second.' };
}

/** What is missing beside rows that are there; empty when nothing is. */
export function note(list: OutlierList): string {
  return list.missing.map(({ kind, remedy }) => `Without ${WHAT[kind]}: ${remedy}`).join('. ');
}
