import { describe, expect, it } from 'vitest';
import type { QueryAnswer } from '../src/api/types';
import { auditValue, isOff } from '../src/lib/audit';
import { keptOf } from '../src/lib/kept';
import { layersOf, layerTitle } from '../src/lib/layers';

function answer(label: string, values: Record<string, (number | null)[]>): QueryAnswer {
  return {
    metric: 'm',
    kind: 'counter',
    unit: 'count',
    fn: 'increase',
    start_ns: 0,
    end_ns: 1e9,
    step_ns: 1e9,
    resolution_ns: 1e9,
    series: Object.entries(values).map(([name, values]) => ({ labels: { [label]: name }, merged: 1, values })),
  };
}

describe('layers', () => {
  it('are ranked by opens, with the mean of one where it is known', () => {
    const opens = answer('layer', { upper: [10], aaa: [30], never: [0], unknown: [null] });
    const seconds = answer('layer', { upper: [0.5] });
    expect(layersOf(opens, seconds)).toEqual([
      { id: 'aaa', opens: 30, share: 0.75, meanS: null },
      { id: 'upper', opens: 10, share: 0.25, meanS: 0.05 },
    ]);
    expect(layersOf(opens, null).map(({ meanS }) => meanS)).toEqual([null, null]);
  });

  it('are told by the beginning of their digest', () => {
    expect(layerTitle('0123456789abcdef'.repeat(4))).toBe('0123456789ab');
    expect(layerTitle('upper')).toBe('its own writes (upper)');
    expect(layerTitle('/srv/lower')).toBe('/srv/lower');
  });
});

describe('the audit', () => {
  it('is told in the unit of what is checked', () => {
    expect(auditValue(1.5, 'cgscope_sched_cpu_seconds_total')).toBe('1.50 s');
    expect(auditValue(2 ** 20, 'cgscope_block_bytes_total')).toBe('1.00 MiB');
    expect(auditValue(12, 'cgscope_block_operations_total')).toBe('12');
  });

  it('does not blame cgscope for what the kernel samples', () => {
    expect(isOff({ error_ratio: 0.02, is_sampled: false })).toBe(true);
    expect(isOff({ error_ratio: 0.02, is_sampled: true })).toBe(false);
    expect(isOff({ error_ratio: 0.01, is_sampled: false })).toBe(false);
  });
});

describe('retention', () => {
  it('is told from the finest on, as it is now', () => {
    const now = answer('step', { '10m': [7, null], '1s': [1, 2], '1m': [null], '10s': [5] });
    expect(keptOf(now)).toEqual([
      { step: '1s', seconds: 2 },
      { step: '10s', seconds: 5 },
      { step: '10m', seconds: 7 },
    ]);
  });
});
