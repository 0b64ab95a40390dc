import { describe, expect, it } from 'vitest';
import type { BucketsAnswer, QueryAnswer } from '../src/api/types';
import { timeTicks } from '../src/charts/axis';
import { decimated } from '../src/charts/decimate';
import { asShares, chartOf, held, last, mean, stacked, tableOf, unitOf } from '../src/charts/data';
import { heatOf, heatTable, place, valueTicks } from '../src/charts/heat';
import { csv, fileName } from '../src/lib/csv';
import { culpritsOf, matrixOf } from '../src/lib/interference';
import { Ring, sparkPaths } from '../src/lib/ring';

function answer(series: [Record<string, string>, (number | null)[]][], more: Partial<QueryAnswer> = {}): QueryAnswer {
  return {
    metric: 'm',
    kind: 'counter',
    unit: 'seconds',
    fn: 'rate',
    start_ns: 1_000e9,
    end_ns: 1_000e9 + (series[0]?.[1].length ?? 0) * 2e9,
    step_ns: 2e9,
    resolution_ns: 1e9,
    series: series.map(([labels, values]) => ({ labels, merged: 1, values })),
    ...more,
  };
}

describe('charts', () => {
  it('know what values are', () => {
    const unit = (kind: QueryAnswer['kind'], unit: QueryAnswer['unit'], fn: QueryAnswer['fn']) =>
      unitOf({ kind, unit, fn });
    expect(unit('counter', 'seconds', 'rate')).toBe('cores');
    expect(unit('counter', 'bytes', 'rate')).toBe('bytesPerSecond');
    expect(unit('gauge', 'bytes', 'mean')).toBe('bytes');
    expect(unit('distribution', 'seconds', 'quantile')).toBe('time');
    expect(unit('distribution', 'seconds', 'rate')).toBe('perSecond');
    expect(unit('gauge', 'ratio', 'mean')).toBe('share');
  });

  it('put what is beyond the most into one line, and lose nothing', () => {
    const many = answer([
      [{ x: 'a' }, [1, 1]],
      [{ x: 'b' }, [5, 5]],
      [{ x: 'c' }, [2, null]],
      [{ x: 'd' }, [3, 3]],
    ]);
    const data = chartOf(many, { label: ({ x }) => x ?? '', most: 3 });
    expect(data.lines.map(({ label }) => label)).toEqual(['b', 'd', '2 others']);
    expect(data.lines[2]!.values).toEqual([3, 1]);
    expect([data.startS, data.stepS, data.length]).toEqual([1_000, 2, 2]);
  });

  it('stack to the sum, and gaps stay gaps', () => {
    const lines = [
      [1, null, 2],
      [3, null, null],
    ];
    expect(stacked(lines)).toEqual([
      [1, null, 2],
      [4, null, 2],
    ]);
    const named = lines.map((values, i) => ({ label: `${i}`, colour: '', values }));
    const shares = asShares({ startS: 0, endS: 3, stepS: 1, length: 3, unit: 'cores', lines: named });
    expect(shares.lines.map(({ values }) => values)).toEqual([
      [0.25, null, 1],
      [0.75, null, null],
    ]);
    expect(shares.unit).toBe('share');
  });

  it('draw a late tick over the steps that it tells of, and no further', () => {
    expect(held([null, 1, null, null, 2, null])).toEqual([null, 1, 2, 2, 2, null]);
    expect(held([1, null, null, null, null, 2])).toEqual([1, null, null, null, null, 2]);
  });

  it('draw no more points than there are pixels, and lose no peak', () => {
    const values = Array.from({ length: 1_000 }, (_, i) => (i === 500 ? 99 : i === 501 ? -7 : i % 10));
    const { times, lines } = decimated([values], 1_000, 50, 2, 100);
    expect([times.length, lines[0]!.length]).toEqual([200, 200]);
    expect(lines[0]!.slice(100, 102)).toEqual([99, -7]);
    expect([times[0], times[100], times[101]]).toEqual([50, 1_050, 1_060]);
    expect(times.every((time, i) => i === 0 || time > times[i - 1]!)).toBe(true);
    // Holes stay holes, and what fits is left alone.
    const holes = values.map((value, i) => (i < 500 ? null : value));
    expect(decimated([holes], 1_000, 0, 1, 100).lines[0]!.slice(98, 101)).toEqual([null, null, 99]);
    expect(decimated([[1, null, 3]], 3, 10, 5, 100)).toEqual({
      times: Float64Array.from([10, 15, 20]),
      lines: [[1, null, 3]],
    });
  });

  it('are saved as they are', () => {
    const data = chartOf(answer([[{ x: 'a,"b' }, [1.5, null]]]), { label: ({ x }) => x ?? '' });
    const { head, rows } = tableOf(data);
    expect(csv(head, rows)).toBe('time,"a,""b"\r\n1970-01-01T00:16:40.000Z,1.5\r\n1970-01-01T00:16:42.000Z,\r\n');
    expect(csv(['x'], [['=1+1'], ['+a'], ['plain'], [-3]])).toBe("x\r\n'=1+1\r\n'+a\r\nplain\r\n-3\r\n");
    expect(fileName('Run queue p99 / <x>', 'csv')).toBe('cgscope-run-queue-p99-x.csv');
    expect([last([1, null]), last([null]), mean([1, null, 3]), mean([])]).toEqual([1, null, 2, null]);
  });

  it('label time at round instants', () => {
    const { at, incrS } = timeTicks(1_000, 1_900, 900);
    expect(incrS).toBe(120);
    expect(at[0]! % 120).toBe(0);
    expect(at.every((tick) => tick >= 1_000 && tick <= 1_900)).toBe(true);
  });
});

describe('heat maps', () => {
  const bounds = [0, 1_024, 2_048, 4_096, 8_192];
  const buckets: BucketsAnswer = {
    metric: 'm',
    start_ns: 0,
    end_ns: 3e9,
    step_ns: 1e9,
    resolution_ns: 1e9,
    merged: 1,
    bounds_ns: bounds,
    steps: [
      {
        count: 5,
        p50_ns: 1_500,
        p95_ns: 3_000,
        p99_ns: 4_000,
        buckets: [
          [1, 3],
          [2, 2],
        ],
      },
      null,
      { count: 0, p50_ns: null, p95_ns: null, p99_ns: null, buckets: [] },
    ],
  };

  it('hold every value once', () => {
    const heat = heatOf(buckets);
    expect(heat.cells.reduce((sum, column) => sum + column.reduce((a, b) => a + b, 0), 0)).toBe(5);
    expect([heat.most, heat.total]).toEqual([3, 5]);
    expect(heat.p50).toEqual([1_500, null, null]);
    expect(heat.late).toEqual([0, 0, 1]);
  });

  it('place values between the bounds of their bucket', () => {
    const heat = heatOf(buckets);
    expect(place(heat, 1_536) + heat.from).toBeCloseTo(1.5);
    expect(place(heat, 0) + heat.from).toBe(0);
    expect(place(heat, 1e12) + heat.from).toBeCloseTo(4.5);
    expect(valueTicks(heat)).toEqual([]);
    expect(valueTicks({ ...heat, bounds: [0, 1_024, 8_192, 16_384, 65_536] })).toEqual([10_000]);
  });

  it('are saved bucket by bucket', () => {
    expect(heatTable(buckets).rows).toEqual([
      ['1970-01-01T00:00:00.000Z', 1_024, 2_048, 3],
      ['1970-01-01T00:00:00.000Z', 2_048, 4_096, 2],
    ]);
  });
});

describe('interference', () => {
  const waits = answer(
    [
      [{ container_id: 'v', container: 'victim', culprit_id: 'h', culprit: 'hog' }, [6]],
      [{ container_id: 'v', container: 'victim', culprit_id: 'v', culprit: 'victim' }, [2]],
      [{ container_id: 'w', container: 'other', culprit_id: 'h', culprit: 'hog' }, [1]],
      [{ container_id: 'w', container: 'other', culprit_id: 'x', culprit: 'x' }, [0]],
    ],
    { fn: 'increase' },
  );

  it('ranks culprits, and leaves out who was not waited for', () => {
    const one = answer([
      [{ culprit_id: 'h', culprit: 'hog' }, [6]],
      [{ culprit_id: 'x' }, [0]],
      [{ culprit_id: 'v', culprit: 'victim' }, [2]],
    ]);
    expect(culpritsOf(one).map(({ name, share }) => [name, share])).toEqual([
      ['hog', 0.75],
      ['victim', 0.25],
    ]);
  });

  it('is a matrix, the worst of both first, and says what is left out', () => {
    const matrix = matrixOf(waits);
    expect(matrix.victims.map(({ name, sumS }) => [name, sumS])).toEqual([
      ['victim', 8],
      ['other', 1],
    ]);
    expect(matrix.culprits.map(({ name, sumS }) => [name, sumS])).toEqual([
      ['hog', 7],
      ['victim', 2],
    ]);
    expect(matrix.cells).toEqual([
      [6, 2],
      [1, 0],
    ]);
    expect([matrix.sumS, matrix.leftOutS, matrix.most]).toEqual([9, 0, 6]);
    expect(matrixOf(waits, 1).leftOutS).toBe(3);
  });

  it('puts what is nobody to the end, and measures no cell by it', () => {
    const both = answer(
      [
        [{ container_id: 'v', container: 'v', culprit_id: 'unknown', culprit: 'unknown' }, [90]],
        [{ container_id: 'v', container: 'v', culprit_id: 'h', culprit: 'hog' }, [6]],
      ],
      { fn: 'increase' },
    );
    expect(matrixOf(both).culprits.map(({ id }) => id)).toEqual(['h', 'unknown']);
    expect([matrixOf(both).most, matrixOf(both).sumS]).toEqual([6, 96]);
  });
});

describe('sparklines', () => {
  it('keep the newest, fill in the older, and break where nothing is known', () => {
    const ring = new Ring(4);
    [3, null, 5].forEach((value) => ring.push(value));
    ring.fill([1, 2]);
    expect(ring.values).toEqual([2, 3, null, 5]);
    ring.push(6);
    expect(ring.values).toEqual([3, null, 5, 6]);
    expect(sparkPaths([0, null, 4], 3, 20, 10)).toEqual({ line: 'M0.0 9.0h0M20.0 2.0h0', area: '' });
    expect(sparkPaths([4, 2], 3, 20, 10)).toEqual({
      line: 'M10.0 2.0L20.0 5.5',
      area: 'M10.0 10L10.0 2.0L20.0 5.5L20.0 10Z',
    });
    expect(sparkPaths([], 3, 20, 10)).toEqual({ line: '', area: '' });
  });
});
