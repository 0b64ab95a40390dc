// Who waited for whom. Pure.

import type { QueryAnswer } from '../api/types';

export interface Culprit {
  id: string;
  name: string;
  waitedS: number;
  share: number;
}

/** The most waited for first, from an answer of one step by `culprit_id,culprit`. */
export function culpritsOf(answer: QueryAnswer): Culprit[] {
  const found = answer.series
    .map(({ labels, values }) => ({
      id: labels['culprit_id'] ?? '',
      name: labels['culprit'] ?? labels['culprit_id'] ?? '?',
      waitedS: values[0] ?? 0,
    }))
    .filter(({ waitedS }) => waitedS > 0)
    .sort((a, b) => b.waitedS - a.waitedS);
  const sum = found.reduce((sum, { waitedS }) => sum + waitedS, 0);
  return found.map((culprit) => ({ ...culprit, share: culprit.waitedS / sum }));
}

export interface Party {
  id: string;
  name: string;
  /** Of a victim: waited for others and itself; of a culprit: others waited for it. */
  sumS: number;
}

export interface Matrix {
  victims: Party[];
  culprits: Party[];
  /** Seconds, by victim and culprit. */
  cells: number[][];
  most: number;
  sumS: number;
  /** Waiting that is in no cell because its victim or culprit is beyond the most that are shown. */
  leftOutS: number;
}

/** Nobody who could be moved elsewhere: a CPU that had to wake up, what lies too far back, who has ended. */
export const isNobody = (id: string) => id === 'idle' || id === 'unknown' || id === 'ended';

/** From an answer of one step by victim and culprit, the worst of both first; what is nobody comes last. */
export function matrixOf(answer: QueryAnswer, most = 24): Matrix {
  const victims = new Map<string, Party>();
  const culprits = new Map<string, Party>();
  const add = (parties: Map<string, Party>, id: string, name: string, waitedS: number) => {
    const party = parties.get(id);
    if (party) party.sumS += waitedS;
    else parties.set(id, { id, name, sumS: waitedS });
  };
  let sumS = 0;
  for (const { labels, values } of answer.series) {
    const waitedS = values[0] ?? 0;
    if (waitedS <= 0) continue;
    sumS += waitedS;
    add(victims, labels['container_id'] ?? '', labels['container'] ?? '?', waitedS);
    add(culprits, labels['culprit_id'] ?? '', labels['culprit'] ?? '?', waitedS);
  }
  const worst = (parties: Map<string, Party>) => [...parties.values()].sort((a, b) => b.sumS - a.sumS).slice(0, most);
  const rows = worst(victims);
  const columns = worst(culprits).sort((a, b) => Number(isNobody(a.id)) - Number(isNobody(b.id)));
  const rowOf = new Map(rows.map(({ id }, i) => [id, i]));
  const columnOf = new Map(columns.map(({ id }, i) => [id, i]));
  const cells = rows.map(() => columns.map(() => 0));
  let shownS = 0;
  for (const { labels, values } of answer.series) {
    const row = rowOf.get(labels['container_id'] ?? '');
    const column = columnOf.get(labels['culprit_id'] ?? '');
    const waitedS = values[0] ?? 0;
    if (row === undefined || column === undefined || waitedS <= 0) continue;
    cells[row]![column]! += waitedS;
    shownS += waitedS;
  }
  const largest = Math.max(0, ...cells.map((row) => Math.max(0, ...row.filter((_, i) => !isNobody(columns[i]!.id)))));
  return { victims: rows, culprits: columns, cells, most: largest, sumS, leftOutS: Math.max(0, sumS - shownS) };
}
