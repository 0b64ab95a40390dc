import { describe, expect, it } from 'vitest';
import { percent } from '../src/lib/format';
import { statesThenAndNow } from '../src/lib/compare';
import { awake, inWords, isStall, ordered, STATES } from '../src/lib/states';
import type { QueryAnswer } from '../src/api/types';

const sum = (shares: { share: number }[]) => shares.reduce((sum, { share }) => sum + share, 0);

describe('states', () => {
  it('are all told apart without a colour', () => {
    expect(new Set(STATES.map(({ letter }) => letter)).size).toBe(STATES.length);
  });

  it('keep their order and their sum, those that are not known as unknown', () => {
    const shares = ordered([
      { state: 'sleeping', share: 0.5 },
      { state: 'running.user', share: 0.2 },
      { state: 'of.the.future', share: 0.1 },
      { state: 'unknown', share: 0.2 },
      { state: 'runnable', share: 0 },
    ]);
    expect(shares.map(({ state }) => state)).toEqual(['running.user', 'sleeping', 'unknown']);
    expect(sum(shares)).toBeCloseTo(1);
    expect(shares[2]!.share).toBeCloseTo(0.3);
  });

  it('sum to 1 without sleep too, unless there was nothing else', () => {
    expect(
      sum(
        awake([
          { state: 'sleeping', share: 0.9 },
          { state: 'runnable', share: 0.06 },
          { state: 'running.user', share: 0.04 },
        ]),
      ),
    ).toBeCloseTo(1);
    expect(awake([{ state: 'sleeping', share: 1 }])).toEqual([]);
  });

  it('are said in words', () => {
    expect(inWords([{ state: 'runnable', share: 0.25 }], percent)).toBe('waiting for a CPU 25.0 %');
    expect(inWords([], percent)).toBe('nothing measured');
  });

  it('stall when a thread wants to go on', () => {
    expect(
      STATES.filter(({ name }) => isStall(name))
        .map(({ letter }) => letter)
        .join(''),
    ).toBe('SRTDFLNPO');
  });
});

describe('two windows', () => {
  it('are compared by shares of each', () => {
    const series = (state: string, now: number, then: number) => ({
      labels: { state },
      merged: 1,
      values: [now],
      against: [then],
    });
    const answer = {
      series: [series('sleeping', 2, 30), series('runnable', 6, 0), series('running.user', 2, 10)],
    } as unknown as QueryAnswer;
    const { now, then, rows, stall } = statesThenAndNow(answer);
    expect([sum(now), sum(then)]).toEqual([1, 1]);
    expect(rows.map(({ state, change }) => [state, Number(change.toFixed(2))])).toEqual([
      ['running.user', -0.05],
      ['runnable', 0.6],
      ['sleeping', -0.55],
    ]);
    expect(stall).toEqual({ then: 0, now: 0.6 });
  });

  it('may have nothing to be compared with', () => {
    const answer = { series: [{ labels: { state: 'sleeping' }, merged: 1, values: [2] }] } as unknown as QueryAnswer;
    expect(statesThenAndNow(answer).then).toEqual([]);
  });
});
