// The columns of the overview: what they are called, what they show of a row, and the rows as a table. Pure.

import type { LiveRow } from '../api/types';
import type { Table } from '../charts/data';
import { bytes, cores, NOTHING, percent, time } from '../lib/format';
import { qualifiedName, type Sort } from '../lib/rows';
import { STATES } from '../lib/states';

export const SPARKED = ['cpu', 'runqueue', 'block', 'network', 'memory'] as const;
export type Sparked = (typeof SPARKED)[number];

export interface Column {
  sort: Sort;
  title: string;
  help: string;
}

export const COLUMNS: readonly Column[] = [
  { sort: 'stall', title: 'Stall', help: 'Threads that wanted to go on and could not, on average' },
  { sort: 'cpu', title: 'CPU', help: 'CPUs it kept busy' },
  { sort: 'runqueue', title: 'Run queue p99', help: 'One in a hundred waits for a CPU was longer' },
  { sort: 'block', title: 'Disk p99', help: 'One in a hundred block requests took longer, queue included' },
  { sort: 'network', title: 'Network', help: 'Bytes sent and received by TCP and UDP' },
  { sort: 'memory', title: 'Memory', help: 'Memory that is charged to it, page cache included' },
];

/** The number of a cell, and a word below it. */
export interface Shown {
  text: string;
  below: string;
  /** Why the word is a warning; empty when it is none. */
  warning: string;
}

export function shownIn({ activity, brief }: LiveRow, column: Sparked): Shown {
  const plain = (text: string, below = ''): Shown => ({ text, below, warning: '' });
  switch (column) {
    case 'cpu': {
      const throttled = activity?.throttled_share ?? 0;
      if (throttled > 0.005) {
        return {
          text: cores(activity?.cpu_cores),
          below: `${percent(throttled)} throttled`,
          warning: 'Of the time it wanted a CPU, its quota kept it from one',
        };
      }
      return plain(cores(activity?.cpu_cores), brief.cpu_limit_cores ? `of ${cores(brief.cpu_limit_cores)}` : '');
    }
    case 'runqueue':
      return plain(time(activity?.runqueue?.p99_ns));
    case 'block':
      return plain(time(brief.block_p99_ns));
    case 'network':
      return plain(brief.network_bytes_per_second === null ? NOTHING : `${bytes(brief.network_bytes_per_second)}/s`);
    case 'memory':
      return plain(bytes(brief.memory_bytes), brief.memory_limit_bytes ? `of ${bytes(brief.memory_limit_bytes)}` : '');
  }
}

/** What `aria-sort` says of a column. Numbers begin with the largest, names with A. */
export function sortState(column: Sort, sort: Sort, isReversed: boolean): 'none' | 'ascending' | 'descending' {
  if (column !== sort) return 'none';
  return (sort === 'name') === isReversed ? 'descending' : 'ascending';
}

/** For other programs. */
export function rowsTable(rows: readonly LiveRow[]): Table {
  return {
    head: [
      'container',
      'id',
      'runtime',
      'image',
      'stall',
      'cpu_cores',
      'runqueue_p99_ns',
      'block_p99_ns',
      'network_bytes_per_second',
      'memory_bytes',
      ...STATES.map(({ name }) => name),
    ],
    rows: rows.map((row) => {
      const { activity, brief } = row;
      const byState = new Map(activity?.states.map(({ state, share }) => [state, share]));
      return [
        qualifiedName(row),
        row.id,
        row.runtime,
        row.image,
        activity?.stall,
        activity?.cpu_cores,
        activity?.runqueue?.p99_ns,
        brief.block_p99_ns,
        brief.network_bytes_per_second,
        brief.memory_bytes,
        ...STATES.map(({ name }) => byState.get(name) ?? (activity?.states.length ? 0 : null)),
      ];
    }),
  };
}
