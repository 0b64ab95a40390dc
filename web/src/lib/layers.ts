// The layers of an image, by what was opened in them. Pure.

import type { QueryAnswer } from '../api/types';

export interface Layer {
  /** `upper` for what the container wrote itself, else the directory of the layer. */
  id: string;
  opens: number;
  share: number;
  /** The mean of an open; `null` when it is not known. */
  meanS: number | null;
}

/** The most used first, from two answers of one step by `layer`: how many opens, and how long they took. */
export function layersOf(opens: QueryAnswer, seconds: QueryAnswer | null): Layer[] {
  const tookS = new Map(seconds?.series.map(({ labels, values }) => [labels['layer'] ?? '', values[0] ?? null]));
  const sum = opens.series.reduce((sum, { values }) => sum + (values[0] ?? 0), 0);
  return opens.series
    .map(({ labels, values }) => ({ id: labels['layer'] ?? '', opens: values[0] ?? 0 }))
    .filter(({ opens }) => opens > 0)
    .map(({ id, opens }) => {
      const took = tookS.get(id) ?? null;
      return { id, opens, share: opens / sum, meanS: took === null ? null : took / opens };
    })
    .sort((a, b) => b.opens - a.opens);
}

/** For people: digests are told by their beginning. */
export function layerTitle(id: string): string {
  if (id === 'upper') return 'its own writes (upper)';
  return /^[0-9a-f]{32,}$/.test(id) ? id.slice(0, 12) : id;
}
