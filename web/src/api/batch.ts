// Questions of many charts, asked in one request: those that come up together, as they do at a tick.
//
// A request costs the page's thread some 0.7 ms of its own, and answers that come one by one are laid out one by one.

import { API, type Answer, failureIn, get } from './client';
import type { BatchAnswer } from './types';

interface Waiting {
  path: string;
  signal: AbortSignal;
  take: (answer: Answer<unknown> | null) => void;
}

/** The daemon takes more, but one that is slow should not hold up a whole page. */
const MOST = 16;
/** What is in front of the daemon may refuse longer addresses. */
const LONGEST = 6_000;

let waiting: Waiting[] = [];

/** As `get`, of a path that `isBatched`; `null` when it was given up by `signal`. */
export function getTogether<T>(path: string, signal: AbortSignal): Promise<Answer<T> | null> {
  return new Promise((take) => {
    if (waiting.length === 0) queueMicrotask(send);
    waiting.push({ path, signal, take: take as Waiting['take'] });
  });
}

/** Whether the daemon answers it among others. */
export function isBatched(path: string): boolean {
  return path.startsWith(`${API}/query?`) || path.startsWith(`${API}/buckets?`);
}

/** So many at a time that the address stays short enough; one that is alone stays as it is. */
export function batches(paths: readonly string[]): string[][] {
  const result: string[][] = [];
  let length = 0;
  for (const path of paths) {
    const adds = ask(path).length;
    const last = result[result.length - 1];
    if (last && last.length < MOST && length + adds <= LONGEST) last.push(path);
    else {
      result.push([path]);
      length = 0;
    }
    length += adds;
  }
  return result;
}

/** The address that asks for all of them. */
export function batchUrl(paths: readonly string[]): string {
  return `${API}/batch?${paths.map(ask).join('&')}`;
}

function ask(path: string): string {
  return `ask=${encodeURIComponent(path.slice(API.length + 1))}`;
}

function send(): void {
  const all = waiting.filter(({ signal }) => !signal.aborted);
  for (const { signal, take } of waiting) if (signal.aborted) take(null);
  waiting = [];
  let from = 0;
  for (const { length } of batches(all.map(({ path }) => path))) {
    void sendOne(all.slice(from, from + length));
    from += length;
  }
}

async function sendOne(asked: readonly Waiting[]): Promise<void> {
  const [first] = asked;
  if (first && asked.length === 1) return first.take(await get(first.path, first.signal));
  // Given up when nobody waits for it any more.
  const abort = new AbortController();
  for (const { signal } of asked) {
    signal.addEventListener('abort', () => {
      if (asked.every(({ signal }) => signal.aborted)) abort.abort();
    });
  }
  const answer = await get<BatchAnswer>(batchUrl(asked.map(({ path }) => path)), abort.signal);
  asked.forEach(({ signal, take }, i) => {
    if (signal.aborted || answer === null) take(null);
    else if (!answer.ok) take(answer);
    else {
      const one = answer.value.answers[i];
      if (one?.status === 200) take({ ok: true, value: one.body, headers: answer.headers });
      else take({ ok: false, failure: failureIn(one?.body, `It answered ${one?.status}.`) });
    }
  });
}
