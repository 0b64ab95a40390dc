// Two windows beside each other, as rows of before, after and difference. Pure.

import type { QueryAnswer } from '../api/types';
import { isStall, ordered, type Share } from './states';

export interface StatesThenAndNow {
  now: Share[];
  then: Share[];
  /** By state, in the order of the bar; shares of all thread time. */
  rows: { state: string; then: number; now: number; change: number }[];
  stall: { then: number; now: number };
}

function shares(sums: readonly { state: string; value: number | null | undefined }[]): Share[] {
  const whole = sums.reduce((sum, { value }) => sum + (value ?? 0), 0);
  return whole > 0 ? ordered(sums.map(({ state, value }) => ({ state, share: (value ?? 0) / whole }))) : [];
}

/** From an answer of one step by state, held against another window. */
export function statesThenAndNow(answer: QueryAnswer): StatesThenAndNow {
  const of = (key: 'values' | 'against') =>
    shares(answer.series.map((series) => ({ state: series.labels['state'] ?? '', value: series[key]?.[0] })));
  const [now, then] = [of('values'), of('against')];
  const shareIn = (list: readonly Share[], state: string) => list.find((share) => share.state === state)?.share ?? 0;
  const names = ordered([...now, ...then]).map(({ state }) => state);
  const rows = names.map((state) => {
    const [before, after] = [shareIn(then, state), shareIn(now, state)];
    return { state, then: before, now: after, change: after - before };
  });
  const stalled = (list: readonly Share[]) =>
    list.reduce((sum, { state, share }) => (isStall(state) ? sum + share : sum), 0);
  return { now, then, rows, stall: { then: stalled(then), now: stalled(now) } };
}
