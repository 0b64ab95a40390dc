// Why a window holds nothing, and where to go from there. Pure: clocks are handed in.

import { bounds, DEFAULT_RANGE, type TimeRange } from './time';

/** When a container ran, s; `null` for what is not known, or has not happened. */
export interface Life {
  startS: number | null;
  endS: number | null;
}

export interface Way {
  title: string;
  range: TimeRange;
}

export interface Why {
  title: string;
  detail: string;
  ways: Way[];
}

/** `sinceS` is when history begins; `otherwise` what an empty window means when the time itself is not to blame. */
export function whyNothing(
  range: TimeRange,
  nowS: number,
  sinceS: number | null,
  life: Life,
  otherwise: Pick<Why, 'title' | 'detail'>,
  clock: (ms: number) => string,
): Why {
  const { startS, endS } = bounds(range, nowS);
  const from = (fromS: number): TimeRange => ({ kind: 'past', startS: fromS, endS: fromS + (endS - startS) });
  const back: Way[] = range.kind === 'past' ? [{ title: 'Back to live', range: DEFAULT_RANGE }] : [];
  if (life.startS !== null && endS <= life.startS) {
    return {
      title: 'It did not run yet',
      detail: `It started at ${clock(life.startS * 1_000)}.`,
      ways: [{ title: 'Go to its start', range: from(life.startS) }, ...back],
    };
  }
  if (sinceS !== null && endS <= sinceS) {
    return {
      title: 'Nothing is kept of this window',
      detail: `History begins at ${clock(sinceS * 1_000)}. Before, no daemon ran, or what it kept was let go.`,
      ways: [{ title: 'Go to where it begins', range: from(sinceS) }, ...back],
    };
  }
  if (life.endS !== null && startS >= life.endS) {
    return {
      title: 'It had ended',
      detail: `It ended at ${clock(life.endS * 1_000)}.`,
      ways: [{ title: 'Go to its end', range: from(life.endS - (endS - startS)) }, ...back],
    };
  }
  return { ...otherwise, ways: back };
}
