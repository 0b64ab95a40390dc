import { describe, expect, it } from 'vitest';
import { formatRoute, parseRoute, type Route, START } from '../src/lib/route';

describe('the address', () => {
  it('restores every page exactly', () => {
    const routes: Route[] = [
      START,
      {
        page: 'container',
        subject: '4aa65076',
        range: { kind: 'live', spanS: 300 },
        against: { kind: 'ago', agoS: 86_400 },
        view: { tab: 'latency' },
      },
      {
        page: 'flame',
        subject: '/system.slice/a b&c?=#%.service',
        range: { kind: 'past', startS: 1, endS: 2.5 },
        against: null,
        view: { q: '/x|y/', zoom: '12' },
      },
      { page: 'host', subject: '', range: { kind: 'live', spanS: 900 }, against: { kind: 'at', startS: 7 }, view: {} },
    ];
    for (const route of routes) expect(parseRoute(formatRoute(route))).toEqual(route);
  });

  it('is short where nothing was chosen', () => {
    expect(formatRoute(START)).toBe('#/overview');
    expect(formatRoute({ ...START, view: { q: '' } })).toBe('#/overview');
  });

  it('takes anything', () => {
    for (const hash of ['', '#', '#/', '#/nothing', '#/container/%zz?t=x&vs=y', '#?????', `#/${'a'.repeat(10_000)}`]) {
      expect(() => parseRoute(hash)).not.toThrow();
    }
    expect(parseRoute('#/container/%zz?t=x').subject).toBe('%zz');
    expect(parseRoute('#/nothing').page).toBe('overview');
  });
});
