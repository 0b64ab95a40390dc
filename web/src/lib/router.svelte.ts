// The address bar and the page, kept the same. What one would want to undo is a step back; what changes as one types is not.

import { formatRoute, parseRoute, type Page, type Route } from './route';
import type { TimeRange } from './time';

class Router {
  current = $state.raw<Route>(parseRoute(location.hash));

  constructor() {
    addEventListener('hashchange', () => (this.current = parseRoute(location.hash)));
  }

  /** Changes parts of the address; `replace` leaves no step to come back to. */
  go(change: Partial<Route>, replace = false): void {
    const next = { ...this.current, ...change };
    const address = formatRoute(next);
    if (address === formatRoute(this.current)) return;
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    this.current = next;
  }

  /** Changes what a page keeps for itself. */
  view(change: Record<string, string>, replace = true): void {
    this.go({ view: { ...this.current.view, ...change } }, replace);
  }

  zoom(range: TimeRange): void {
    this.go({ range });
  }

  /** The address of another page, of the same time. */
  link(page: Page, subject = '', view: Record<string, string> = {}): string {
    const { range, against } = this.current;
    return formatRoute({ page, subject, range, against, view });
  }
}

export const router = new Router();
