import { describe, expect, it } from 'vitest';
import type { LiveRow } from '../src/api/types';
import { grouped, matches, sorted, windowOf } from '../src/lib/rows';

function row(name: string, stall: number | null, more: Partial<LiveRow> = {}): LiveRow {
  return {
    id: `${name}-id`,
    name,
    runtime: 'podman',
    image: null,
    pod: null,
    unit: null,
    slice: null,
    cgroup: `/x/${name}`,
    created_at_ns: null,
    started_at_ns: null,
    died_at_ns: null,
    alive: true,
    activity:
      stall === null
        ? null
        : { id: name, cpu_cores: 1, throttled_share: null, runqueue: null, threads: 1, states: [], stall },
    brief: {
      memory_bytes: null,
      memory_limit_bytes: null,
      cpu_limit_cores: null,
      network_bytes_per_second: null,
      block_bytes_per_second: null,
      block_p99_ns: null,
    },
    ...more,
  };
}
const names = (rows: LiveRow[]) => rows.map(({ name }) => name).join(' ');

describe('rows', () => {
  const rows = [row('b', 0.5), row('idle', null), row('a', 2, { runtime: 'docker', image: 'nginx:1' }), row('c', 0.5)];

  it('are ranked, what is not known last, equals as they came', () => {
    expect(names(sorted(rows, 'stall', false))).toBe('a b c idle');
    expect(names(sorted(rows, 'stall', true))).toBe('b c a idle');
    expect(names(sorted(rows, 'name', false))).toBe('a b c idle');
    expect(names(sorted(rows, 'name', true))).toBe('idle c b a');
  });

  it('are found by any word of theirs', () => {
    const found = (query: string) => names(rows.filter((row) => matches(row, query)));
    expect(found('NGINX')).toBe('a');
    expect(found('runtime:docker')).toBe('a');
    expect(found('name:nginx')).toBe('');
    expect(found('podman c')).toBe('c');
    expect(found('(')).toBe('');
    expect(found('')).toBe('b idle a c');
  });

  it('stand under headings, the worst group first', () => {
    const entries = grouped(sorted(rows, 'stall', false), 'runtime');
    expect(entries.map((entry) => (entry.kind === 'group' ? `${entry.title}:${entry.count}` : entry.row.name))).toEqual(
      ['docker:1', 'a', 'podman:3', 'b', 'c', 'idle'],
    );
  });

  it('are drawn as far as they are seen', () => {
    expect(windowOf(5_000, 38_000, 600, 38)).toEqual({ from: 994, to: 1022 });
    expect(windowOf(3, 0, 600, 38)).toEqual({ from: 0, to: 3 });
  });
});
