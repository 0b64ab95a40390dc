// A question to the daemon that is asked again as time goes on, and the state its answer is in.

import { untrack } from 'svelte';
import { getTogether, isBatched } from './batch';
import { get, type Failure } from './client';
import { live } from './stream.svelte';

export type Loaded<T> =
  | { status: 'loading' }
  | { status: 'failed'; failure: Failure }
  /** `stale` says why this is old: the daemon went away after it had answered. */
  | { status: 'ready'; value: T; stale: Failure | null };

export interface Resource<T> {
  readonly current: Loaded<T>;
  readonly isAsking: boolean;
  refresh(): void;
}

/** Asks for `path()` whenever it changes, and each `everyMs()` while the daemon is there; `null` asks nothing or never again.
 *  The answer before stays until the next is there, unless `key()` changed: then it is about something else. */
export function resource<T>(
  path: () => string | null,
  everyMs: () => number | null = () => null,
  key: () => string = () => '',
): Resource<T> {
  let current = $state.raw<Loaded<T>>({ status: 'loading' });
  let isAsking = $state(false);
  let wanted = $state(0);
  let lastKey: string | null = null;
  let lastPath: string | null = null;
  let askedMs = 0;
  let abort: AbortController | null = null;

  async function ask(path: string): Promise<void> {
    abort?.abort();
    const mine = new AbortController();
    abort = mine;
    isAsking = true;
    askedMs = Date.now();
    const answer = await (isBatched(path) ? getTogether<T>(path, mine.signal) : get<T>(path, mine.signal));
    if (answer === null || abort !== mine) return;
    abort = null;
    isAsking = false;
    if (answer.ok) current = { status: 'ready', value: answer.value, stale: null };
    else if (current.status === 'ready' && answer.failure.kind === 'disconnected') {
      current = { ...current, stale: answer.failure };
    } else current = { status: 'failed', failure: answer.failure };
  }

  $effect(() => {
    const now = path();
    const is = key();
    const every = everyMs();
    // Ticks are the clock: nothing is asked while the daemon is away, and at once when it is back.
    const tickMs = every === null ? 0 : live.atMs;
    const isLive = live.connection === 'live';
    const forced = wanted;
    untrack(() => {
      if (now === null) {
        abort?.abort();
        abort = null;
        lastPath = null;
        current = { status: 'loading' };
        return;
      }
      if (is !== lastKey) current = { status: 'loading' };
      const isNew = now !== lastPath || is !== lastKey || forced > 0;
      const wasLost = isLive && current.status !== 'loading' && staleOf(current)?.kind === 'disconnected';
      const isDue = every !== null && tickMs > 0 && isLive && Date.now() - askedMs >= every * 0.9 && !isAsking;
      lastKey = is;
      lastPath = now;
      wanted = 0;
      if (isNew || wasLost || isDue) void ask(now);
    });
  });

  $effect(() => () => abort?.abort());

  return {
    get current() {
      return current;
    },
    get isAsking() {
      return isAsking;
    },
    refresh() {
      wanted += 1;
    },
  };
}

function staleOf<T>(loaded: Loaded<T>): Failure | null {
  if (loaded.status === 'failed') return loaded.failure;
  return loaded.status === 'ready' ? loaded.stale : null;
}
