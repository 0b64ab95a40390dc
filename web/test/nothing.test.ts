import { describe, expect, it } from 'vitest';
import { whyNothing } from '../src/lib/nothing';
import { DEFAULT_RANGE, type TimeRange } from '../src/lib/time';

const past = (startS: number, endS: number): TimeRange => ({ kind: 'past', startS, endS });
const otherwise = { title: 'Nothing in this window', detail: 'It wrote nothing.' };
const why = (range: TimeRange, sinceS: number | null, life: [number | null, number | null] = [null, null]) =>
  whyNothing(range, 10_000, sinceS, { startS: life[0], endS: life[1] }, otherwise, (ms) => `${ms / 1_000}`);

describe('an empty window', () => {
  it('lies before history, and leads to where it begins', () => {
    const { title, detail, ways } = why(past(100, 160), 500);
    expect(title).toBe('Nothing is kept of this window');
    expect(detail).toContain('begins at 500');
    expect(ways.map(({ range }) => range)).toEqual([past(500, 560), DEFAULT_RANGE]);
  });

  it('lies before the container, or after it', () => {
    expect(why(past(600, 660), 500, [700, null]).ways[0]!.range).toEqual(past(700, 760));
    // What began before history may have run then: nobody knows.
    expect(why(past(100, 160), 500, [50, null]).title).toBe('Nothing is kept of this window');
    const ended = why(past(900, 960), 500, [600, 800]);
    expect([ended.detail, ended.ways[0]!.range]).toEqual(['It ended at 800.', past(740, 800)]);
  });

  it('is what the chart says when the time is not to blame', () => {
    expect(why(past(900, 960), 500)).toEqual({
      ...otherwise,
      ways: [{ title: 'Back to live', range: DEFAULT_RANGE }],
    });
    expect(why({ kind: 'live', spanS: 60 }, null)).toEqual({ ...otherwise, ways: [] });
  });
});
