// How long history is kept. Pure.

import type { QueryAnswer } from '../api/types';
import { last } from '../charts/data';
import { parseSpan } from './time';

/** The finest first, from an answer by `step`. */
export function keptOf(answer: QueryAnswer): { step: string; seconds: number }[] {
  return answer.series
    .map(({ labels, values }) => ({ step: labels['step'] ?? '', seconds: last(values) }))
    .filter((one): one is { step: string; seconds: number } => one.seconds !== null)
    .sort((a, b) => (parseSpan(a.step) ?? 0) - (parseSpan(b.step) ?? 0));
}
