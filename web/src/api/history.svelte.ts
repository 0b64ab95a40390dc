// Since when history is kept: asked once somebody wants to know.

import { get, url } from './client';
import { live } from './stream.svelte';
import type { QueryAnswer } from './types';

/** Each within the first step of the one before that holds something. */
const STEPS_S = [86_400, 600, 1];
const LONGEST_S = 366 * 86_400;
/** The daemon is where its history is: it measures itself in every tick. */
const ALWAYS = 'cgscope_own_cpu_seconds_total';

class History {
  /** `null` while it is not known. */
  sinceS = $state<number | null>(null);
  #isAsked = false;

  look(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    void this.#find();
  }

  async #find(): Promise<void> {
    let endS = Math.floor(live.nowMs() / 1_000);
    let startS = endS - LONGEST_S;
    for (const step of STEPS_S) {
      const answer = await get<QueryAnswer>(
        url('query', { metric: ALWAYS, by: '', step: `${step}s`, start: startS, end: endS }),
      );
      // Without history, nothing is said of it.
      if (!answer?.ok) return;
      const place = answer.value.series[0]?.values.findIndex((value) => value !== null) ?? -1;
      if (place === -1) return;
      startS = answer.value.start_ns / 1e9 + place * step;
      endS = Math.min(endS, startS + step);
      this.sinceS = startS;
    }
  }
}

export const history = new History();
