// A recording while it runs: how long it has to go, and a way to end it.

import { type Failure, get, url } from '../api/client';
import type { ProfileDocument, ProfileTypeName } from '../api/types';

/** The names of `type` in the API. */
export const TYPES = [
  'cpu',
  'offcpu',
  'wakeup',
  'block',
  'fault',
  'memory',
  'lock',
  'network',
] as const satisfies readonly ProfileTypeName[];
export type ProfileType = (typeof TYPES)[number];

export class Recording {
  /** Seconds that are left; `null` while none runs. */
  leftS = $state<number | null>(null);
  failure = $state.raw<Failure | null>(null);
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Records and keeps; the id under which it can be asked for again, `null` when it failed or was given up. */
  async run(container: string, type: ProfileType, seconds: number): Promise<string | null> {
    this.cancel();
    const mine = new AbortController();
    this.#abort = mine;
    this.failure = null;
    const endMs = Date.now() + seconds * 1_000;
    this.leftS = seconds;
    this.#timer = setInterval(() => (this.leftS = Math.max(0, Math.ceil((endMs - Date.now()) / 1_000))), 250);
    const path = url('flamegraph', {
      container: container || null,
      type,
      duration: `${seconds}s`,
      format: 'json',
      keep: true,
    });
    const answer = await get<ProfileDocument>(path, mine.signal);
    if (this.#abort !== mine) return null;
    this.cancel();
    if (!answer) return null;
    if (!answer.ok) {
      this.failure = answer.failure;
      return null;
    }
    return answer.headers.get('x-cgscope-profile');
  }

  /** Ends it in the daemon too. */
  cancel(): void {
    this.#abort?.abort();
    this.#abort = null;
    clearInterval(this.#timer);
    this.leftS = null;
  }
}
