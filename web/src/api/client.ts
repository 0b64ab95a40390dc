// Asking the daemon: one way in, and each way to fail told apart.

import type { ErrorBody } from './types';

export interface Failure {
  /** `disconnected` is ours: nobody answered. The others are the daemon's own. */
  kind: ErrorBody['kind'] | 'disconnected';
  error: string;
  remedy: string;
}

export type Answer<T> = { ok: true; value: T; headers: Headers } | { ok: false; failure: Failure };

const GONE: Failure = {
  kind: 'disconnected',
  error: 'The daemon does not answer.',
  remedy: 'See whether `cgscope run` still runs; this page goes on by itself when it is back.',
};

/** Relative, so that a proxy may put a path in front. */
export const API = 'api/v1';

/** A path with parameters; those that are not there are left out, an empty text is not. */
export function url(path: string, params: Record<string, string | number | boolean | null | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) query.set(key, String(value));
  }
  const text = query.toString();
  return `${API}/${path}${text === '' ? '' : `?${text}`}`;
}

/** GET; `null` when it was given up by `signal`. */
export async function get<T>(
  path: string,
  signal: AbortSignal | null = null,
  read: (response: Response) => Promise<T> = (response) => response.json() as Promise<T>,
): Promise<Answer<T> | null> {
  try {
    const response = await fetch(path, { signal });
    if (response.ok) return { ok: true, value: await read(response), headers: response.headers };
    return { ok: false, failure: await failureOf(response) };
  } catch {
    return signal?.aborted ? null : { ok: false, failure: GONE };
  }
}

async function failureOf(response: Response): Promise<Failure> {
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    // Not the daemon's words: of a proxy in between, most likely.
  }
  return failureIn(body, `It answered ${response.status} ${response.statusText}.`);
}

/** What the body of an error says, or `otherwise`. */
export function failureIn(body: unknown, otherwise: string): Failure {
  const { kind, error, remedy } = (body ?? {}) as Partial<ErrorBody>;
  if (typeof error !== 'string') return { kind: 'failed', error: otherwise, remedy: '' };
  return { kind: kind ?? 'failed', error, remedy: remedy ?? '' };
}
