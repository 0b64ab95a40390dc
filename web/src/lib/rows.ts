// The rows of the overview: which, in what order, under what headings. Pure.

import type { Container, LiveRow } from '../api/types';

export const SORTS = [
  'stall',
  'cpu',
  'throttled',
  'runqueue',
  'block',
  'network',
  'memory',
  'threads',
  'name',
] as const;
export type Sort = (typeof SORTS)[number];

/** As people call them. */
export const SORT_TITLES: Record<Sort, string> = {
  stall: 'stall',
  cpu: 'CPU',
  throttled: 'throttling',
  runqueue: 'run queue p99',
  block: 'disk p99',
  network: 'network',
  memory: 'memory',
  threads: 'threads',
  name: 'name',
};

export const GROUPS = ['', 'runtime', 'pod', 'image'] as const;
export type Group = (typeof GROUPS)[number];

/** `namespace/pod/name` as far as they are known. */
export function qualifiedName({ name, pod }: Pick<Container, 'name' | 'pod'>): string {
  return [pod?.namespace, pod?.name, name].filter(Boolean).join('/');
}

/** What a sort goes by; `null` comes last, whatever the direction. */
export function valueOf(row: LiveRow, sort: Sort): number | string | null {
  const { activity, brief } = row;
  switch (sort) {
    case 'stall':
      return activity?.stall ?? null;
    case 'cpu':
      return activity?.cpu_cores ?? null;
    case 'throttled':
      return activity?.throttled_share ?? null;
    case 'runqueue':
      return activity?.runqueue?.p99_ns ?? null;
    case 'block':
      return brief.block_p99_ns;
    case 'network':
      return brief.network_bytes_per_second;
    case 'memory':
      return brief.memory_bytes;
    case 'threads':
      return activity?.threads ?? null;
    case 'name':
      return qualifiedName(row);
  }
}

export function sorted(rows: readonly LiveRow[], sort: Sort, isReversed: boolean): LiveRow[] {
  // Numbers: the largest first. Names: from A.
  const turn = (sort === 'name') === isReversed ? -1 : 1;
  const keyed = rows.map((row, place) => ({ row, place, value: valueOf(row, sort) }));
  keyed.sort((a, b) => {
    if (a.value === null || b.value === null) {
      return a.value === b.value ? a.place - b.place : a.value === null ? 1 : -1;
    }
    if (a.value === b.value) return a.place - b.place;
    return (a.value < b.value ? -1 : 1) * turn;
  });
  return keyed.map(({ row }) => row);
}

/** Words, all of which must be in the name, id, image, unit or cgroup; `runtime:docker` and the like ask one of them. */
export function matches(row: Container, query: string): boolean {
  const fields: Record<string, string> = {
    name: qualifiedName(row),
    id: row.id,
    image: row.image ?? '',
    unit: row.unit ?? '',
    cgroup: row.cgroup,
    runtime: row.runtime,
    pod: row.pod?.name ?? '',
  };
  return query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
    .every((word) => {
      const [key = '', ...rest] = word.split(':');
      const field = fields[key];
      if (field !== undefined && rest.length > 0) return field.toLowerCase().includes(rest.join(':'));
      return Object.values(fields).some((text) => text.toLowerCase().includes(word));
    });
}

export type Entry = { kind: 'group'; title: string; count: number } | { kind: 'row'; row: LiveRow };

function groupOf(row: LiveRow, group: Group): string {
  switch (group) {
    case 'runtime':
      return row.runtime;
    case 'pod':
      return row.pod?.name ? [row.pod.namespace, row.pod.name].filter(Boolean).join('/') : 'in no pod';
    case 'image':
      return row.image ?? 'image not known';
    case '':
      return '';
  }
}

/** Under headings; groups in the order of their first row, so the worst group is first too. */
export function grouped(rows: readonly LiveRow[], group: Group): Entry[] {
  if (group === '') return rows.map((row) => ({ kind: 'row', row }));
  const groups = new Map<string, LiveRow[]>();
  for (const row of rows) {
    const title = groupOf(row, group);
    const members = groups.get(title);
    if (members) members.push(row);
    else groups.set(title, [row]);
  }
  return [...groups].flatMap(([title, members]): Entry[] => [
    { kind: 'group', title, count: members.length },
    ...members.map((row): Entry => ({ kind: 'row', row })),
  ]);
}

/** Which entries a list shows that is scrolled to `top`, a few more on either side. */
export function windowOf(count: number, top: number, height: number, rowHeight: number): { from: number; to: number } {
  const extra = 6;
  const from = Math.max(0, Math.floor(top / rowHeight) - extra);
  return { from, to: Math.min(count, Math.ceil((top + height) / rowHeight) + extra) };
}
