// When what a page is about ran: charts that are empty say so.

import { getContext, hasContext, setContext } from 'svelte';
import type { Life } from '../lib/nothing';

const KEY = Symbol('life');

export const setLifeOfPage = (life: () => Life) => setContext(KEY, life);

/** Of a page that is about no container, nothing. */
export const lifeOfPage = (): (() => Life) =>
  hasContext(KEY) ? getContext<() => Life>(KEY) : () => ({ startS: null, endS: null });
