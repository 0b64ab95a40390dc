import { describe, expect, it } from 'vitest';
import type { OutlierList, OutlierRow } from '../src/api/types';
import { askedS, inWindow, note, ordered, placeOf, whyNone } from '../src/lib/outliers';

function row(latencyMs: number, atS: number, more: Partial<OutlierRow> = {}): OutlierRow {
  return {
    at: atS * 1e9,
    kind: 'block',
    operation: 'write',
    container: 'c0ffee',
    name: 'web',
    latency_ns: latencyMs * 1e6,
    queue_ns: null,
    service_ns: null,
    device: 'vda',
    sector: 2_048,
    file: null,
    inode: null,
    bytes: 4_096,
    pid: 7,
    tid: 8,
    thread: 'writer',
    stack: null,
    ...more,
  };
}

function list(outliers: OutlierRow[], missing: OutlierList['missing'] = []): OutlierList {
  return { at: 1e12, span_ns: 60e9, total: outliers.length, outliers, stacks: [], missing };
}

const FILES_OFF: OutlierList['missing'] = [{ kind: 'file', remedy: 'start the daemon with --enable files' }];

describe('slow operations', () => {
  it('are asked for as far back as the daemon keeps them', () => {
    expect(askedS({ kind: 'live', spanS: 120 }, 10_000)).toBe(120);
    expect(askedS({ kind: 'live', spanS: 86_400 }, 10_000)).toBe(600);
    expect(askedS({ kind: 'past', startS: 9_000, endS: 9_500 }, 10_000)).toBe(600);
    expect(askedS({ kind: 'past', startS: 9_000, endS: 9_400 }, 10_000)).toBe(null);
  });

  it('of a piece of the past are those that ended in it', () => {
    const rows = [row(5, 99), row(4, 100), row(3, 109.9), row(2, 110)];
    const times = (rows: OutlierRow[]) => rows.map(({ latency_ns }) => latency_ns / 1e6);
    expect(times(inWindow(rows, { kind: 'past', startS: 100, endS: 110 }, 200))).toEqual([4, 3]);
    expect(times(inWindow(rows, { kind: 'live', spanS: 10 }, 200))).toEqual([5, 4, 3, 2]);
  });

  it('are sorted by what was asked, the newest first of equal ones', () => {
    const rows = [row(2, 1), row(9, 2, { bytes: 512 }), row(2, 3), row(4, 4)];
    const seconds = (order: 'latency' | 'time' | 'bytes') => ordered(rows, order).map(({ at }) => at / 1e9);
    expect(seconds('latency')).toEqual([2, 4, 3, 1]);
    expect(seconds('time')).toEqual([4, 3, 2, 1]);
    expect(seconds('bytes')).toEqual([4, 3, 1, 2]);
    expect(rows[0]!.at).toBe(1e9);
  });

  it('are somewhere, or it is not known where', () => {
    expect(placeOf(row(1, 1))).toBe('sector 2048');
    expect(placeOf(row(1, 1, { kind: 'file', sector: null, file: '/data/a' }))).toBe('/data/a');
    expect(placeOf(row(1, 1, { sector: null }))).toBe(null);
    expect(placeOf(row(1, 1, { sector: 0 }))).toBe('sector 0');
  });

  it('that are not there have a reason', () => {
    expect(whyNone(list([]))).toMatchObject({ title: 'Nothing slow in this window' });
    expect(whyNone(list([], FILES_OFF))).toEqual({
      title: 'Slow calls on files are not looked for',
      detail: 'To see them, start the daemon with --enable files.',
    });
    expect(whyNone(null)).toMatchObject({ title: 'Nothing is kept of this window' });
  });

  it('say what is missing beside them', () => {
    expect(note(list([row(1, 1)]))).toBe('');
    expect(note(list([row(1, 1)], FILES_OFF))).toBe('Without calls on files: start the daemon with --enable files');
  });
});
