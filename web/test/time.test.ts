import { describe, expect, it } from 'vitest';
import {
  againstOf,
  bounds,
  formatAgainst,
  formatRange,
  parseAgainst,
  parseRange,
  parseSpan,
  queryOf,
  shifted,
  span,
  stepS,
  widened,
  zoomed,
} from '../src/lib/time';

const NOW = 1_800_000_000;

describe('lengths of time', () => {
  it('are written and read back', () => {
    for (const seconds of [1, 59, 60, 90, 900, 3_600, 86_400, 93_784]) expect(parseSpan(span(seconds))).toBe(seconds);
    expect(span(93_784)).toBe('1d2h3m4s');
  });

  it('are refused when they are none', () => {
    for (const text of ['', '5', 'm5', '0s', '-5m', '5x', '1e3s', '5m ']) expect(parseSpan(text)).toBeNull();
  });
});

describe('ranges', () => {
  it('survive a link', () => {
    for (const range of [
      { kind: 'live', spanS: 900 },
      { kind: 'past', startS: NOW - 60.5, endS: NOW },
    ] as const) {
      expect(parseRange(formatRange(range))).toEqual(range);
    }
    for (const against of [
      { kind: 'ago', agoS: 86_400 },
      { kind: 'at', startS: NOW },
    ] as const) {
      expect(parseAgainst(formatAgainst(against))).toEqual(against);
    }
    for (const text of ['', '5~4', '4~4', '1~2~3', 'x~y', '1~999999999999']) expect(parseRange(text)).toBeNull();
  });

  it('are dragged in either direction, and a click is no drag', () => {
    expect(zoomed(100, 160)).toEqual({ kind: 'past', startS: 100, endS: 160 });
    expect(zoomed(160, 100)).toEqual({ kind: 'past', startS: 100, endS: 160 });
    expect(zoomed(100, 100.2)).toBeNull();
    expect(zoomed(100, 102)).toEqual({ kind: 'past', startS: 98.5, endS: 103.5 });
  });

  it('move, and become live at the present', () => {
    expect(shifted({ kind: 'live', spanS: 600 }, -1, NOW)).toEqual({
      kind: 'past',
      startS: NOW - 900,
      endS: NOW - 300,
    });
    expect(shifted({ kind: 'past', startS: NOW - 900, endS: NOW - 300 }, 1, NOW)).toEqual({ kind: 'live', spanS: 600 });
    expect(shifted({ kind: 'past', startS: 100, endS: 200 }, 1, NOW)).toEqual({ kind: 'past', startS: 150, endS: 250 });
  });

  it('grow around their middle, but not into the future', () => {
    expect(widened({ kind: 'past', startS: 100, endS: 200 }, NOW)).toEqual({ kind: 'past', startS: 50, endS: 250 });
    expect(bounds(widened({ kind: 'past', startS: NOW - 100, endS: NOW }, NOW), NOW)).toEqual({
      kind: 'past',
      startS: NOW - 200,
      endS: NOW,
    });
  });

  it('are asked for as the API takes them', () => {
    expect(queryOf({ kind: 'live', spanS: 900 })).toEqual({ start: '-900s', end: 'now' });
    expect(queryOf({ kind: 'past', startS: 1.5, endS: 9 })).toEqual({ start: '1.5', end: '9' });
    expect(againstOf({ kind: 'live', spanS: 900 }, { kind: 'ago', agoS: 86_400 })).toBe('-87300s');
    expect(againstOf({ kind: 'past', startS: 90_000, endS: 90_060 }, { kind: 'ago', agoS: 86_400 })).toBe('3600');
    expect(againstOf({ kind: 'live', spanS: 900 }, { kind: 'at', startS: 42 })).toBe('42');
  });
});

describe('steps', () => {
  it('are round, and about as many as there are pixels for', () => {
    expect(stepS(120, 900)).toBe(1);
    expect(stepS(900, 900)).toBe(2);
    expect(stepS(3_600, 900)).toBe(10);
    expect(stepS(86_400, 900)).toBe(300);
    for (const length of [5, 120, 900, 7_200, 86_400, 30 * 86_400])
      expect(length / stepS(length, 900)).toBeLessThanOrEqual(600);
  });
});
