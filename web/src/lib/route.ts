// The address is the state: which page, of what, when, and how it is looked at. Pure; `router.svelte.ts` ties it to the browser.

import {
  type Against,
  DEFAULT_RANGE,
  formatAgainst,
  formatRange,
  parseAgainst,
  parseRange,
  type TimeRange,
} from './time';

export const PAGES = ['overview', 'container', 'flame', 'interference', 'host', 'own', 'settings'] as const;
export type Page = (typeof PAGES)[number];

export interface Route {
  page: Page;
  /** The id of the container a page is about; empty for none. */
  subject: string;
  range: TimeRange;
  against: Against | null;
  /** What else a page keeps: search, sort, zoom. */
  view: Readonly<Record<string, string>>;
}

export const START: Route = { page: 'overview', subject: '', range: DEFAULT_RANGE, against: null, view: {} };

const RANGE = 't';
const AGAINST = 'vs';

/** Reads `#/container/ID?t=15m&q=x`. What makes no sense is left out rather than refused. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  const [first = '', ...rest] = path.split('/');
  const page = PAGES.find((page) => page === first) ?? 'overview';
  const params = new URLSearchParams(query);
  const view: Record<string, string> = {};
  for (const [key, value] of params) if (key !== RANGE && key !== AGAINST) view[key] = value;
  return {
    page,
    subject: decoded(rest.join('/')),
    range: parseRange(params.get(RANGE) ?? '') ?? DEFAULT_RANGE,
    against: parseAgainst(params.get(AGAINST) ?? ''),
    view,
  };
}

export function formatRoute(route: Route): string {
  const params = new URLSearchParams();
  const range = formatRange(route.range);
  if (range !== formatRange(DEFAULT_RANGE)) params.set(RANGE, range);
  if (route.against) params.set(AGAINST, formatAgainst(route.against));
  for (const [key, value] of Object.entries(route.view)) if (value !== '') params.set(key, value);
  const query = params.toString();
  const subject = route.subject === '' ? '' : `/${encodeURIComponent(route.subject)}`;
  return `#/${route.page}${subject}${query === '' ? '' : `?${query}`}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
