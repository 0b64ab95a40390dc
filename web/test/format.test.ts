import { describe, expect, it } from 'vitest';
import { bytes, clock, cores, count, digits, formatUnit, name, NOTHING, percent, time } from '../src/lib/format';

describe('numbers for people', () => {
  it('has three digits and no zeros that say nothing', () => {
    expect([0, 0.001234, 0.0123, 1.5, 12.34, 123.4, 999.7].map(digits)).toEqual([
      '0',
      '0.001',
      '0.01',
      '1.50',
      '12.3',
      '123',
      '1000',
    ]);
  });

  it('writes times in the unit they are read in', () => {
    expect([0, 999, 1_000, 1_500_000, 999_600_000, 90e9, 7_200e9].map(time)).toEqual([
      '0',
      '999 ns',
      '1.00 µs',
      '1.50 ms',
      '1.00 s',
      '1.50 min',
      '2.00 h',
    ]);
  });

  it('writes sizes by 1024 and counts by 1000', () => {
    expect([0, 512, 1_536, 5 * 2 ** 30].map(bytes)).toEqual(['0 B', '512 B', '1.50 KiB', '5.00 GiB']);
    expect([0, 7, 1_500, 2e6].map(count)).toEqual(['0', '7', '1.50 k', '2.00 M']);
  });

  it('shows what is not known as a dash, never as 0', () => {
    for (const show of [time, bytes, count, percent, cores]) {
      expect(show(null)).toBe(NOTHING);
      expect(show(undefined)).toBe(NOTHING);
      expect(show(Number.NaN)).toBe(NOTHING);
    }
    expect(formatUnit(null, 'time')).toBe(NOTHING);
  });

  it('tells small shares from none', () => {
    expect([0, 0.0001, 0.123, 0.9999, 1].map(percent)).toEqual(['0.0 %', '< 0.1 %', '12.3 %', '100 %', '100 %']);
  });

  it('writes each unit of the API', () => {
    expect(formatUnit(0.0015, 'time')).toBe('1.50 ms');
    expect(formatUnit(2048, 'bytesPerSecond')).toBe('2.00 KiB/s');
    expect(formatUnit(0.5, 'share')).toBe('50.0 %');
    expect(formatUnit(1.239, 'cores')).toBe('1.24');
    expect(formatUnit(3000, 'perSecond')).toBe('3.00 k/s');
  });
});

describe('names that others wrote', () => {
  it('stay text, and what cannot be seen is written out', () => {
    expect(name('<script>alert(1)</script>"\'')).toBe('<script>alert(1)</script>"\'');
    expect(name('a\u202eb\nc\u0000')).toBe('a\\u202eb\\u000ac\\u0000');
    expect(name('שלום')).toBe('שלום');
  });
});

describe('wall time', () => {
  it('has the day when it is not today', () => {
    const now = new Date(2026, 10, 21, 15, 0, 0).getTime();
    expect(clock(new Date(2026, 10, 21, 4, 5, 6).getTime(), now)).toBe('04:05:06');
    expect(clock(new Date(2026, 10, 20, 4, 5, 6).getTime(), now)).toMatch(/20.*04:05:06/);
  });
});
