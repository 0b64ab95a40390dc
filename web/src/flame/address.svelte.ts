// What the address says of the flame graph: whose, of what, and how it is looked at.

import { router } from '../lib/router.svelte';
import { parseRange } from '../lib/time';
import { live } from '../api/stream.svelte';
import { name as shown } from '../lib/format';
import { qualifiedName } from '../lib/rows';
import { url } from '../api/client';
import { type ProfileType, TYPES } from './recording.svelte';

class FlameAddress {
  #view = $derived(router.current.view);

  /** The id of a container; empty for the whole host. */
  subject = $derived(router.current.subject);
  type: ProfileType = $derived(TYPES.find((type) => type === this.#view['type']) ?? 'cpu');
  /** A window of the past, of which the daemon keeps what ran. */
  past = $derived.by(() => {
    const range = parseRange(this.#view['past'] ?? '');
    return range?.kind === 'past' ? range : null;
  });
  /** The recording that is looked at, and the one it is held against; empty for none. */
  id = $derived(this.#view['profile'] ?? '');
  base = $derived(this.#view['base'] ?? '');
  query = $derived(this.#view['q'] ?? '');
  /** The box that fills the width, -1 for the whole. */
  zoom = $derived(this.#view['zoom'] ? Number(this.#view['zoom']) : -1);
  /** The function whose callers and callees are shown. */
  focus = $derived(this.#view['focus'] ?? '');
  isFlame = $derived(this.#view['up'] === '1');
  withoutThreads = $derived(this.#view['threads'] === '0');
  byState = $derived(this.#view['split'] === '1');
  /** States that are left out. */
  hidden = $derived(new Set((this.#view['hide'] ?? '').split(',').filter((state) => state !== '')));
  /** Seconds that a link asks to record, 0 for none. */
  wanted = $derived.by(() => {
    const seconds = Number(this.#view['record'] ?? '');
    return Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
  });

  subjectName = $derived.by(() => {
    if (this.subject === '') return 'the whole host';
    const row = live.find(this.subject);
    return row ? shown(qualifiedName(row)) : this.subject.slice(0, 12);
  });

  /** Where the stacks are asked for; `null` while there are none to look at. */
  path(format: string | null = null): string | null {
    const { past, type, subject, id, base } = this;
    if (past) {
      const window = { type, container: subject || null, start: past.startS, end: past.endS };
      return url('flamegraph', { ...window, format: format ?? 'json' });
    }
    if (id === '') return null;
    const path = `profiles/${encodeURIComponent(id)}`;
    return base === '' ? url(path, { format }) : url(`${path}/diff`, { base, format });
  }

  /** Looks at another recording, from the start. */
  open(made: string, replace = false): void {
    router.view({ profile: made, past: '', base: '', zoom: '', focus: '', hide: '' }, replace);
  }
}

export const address = new FlameAddress();
