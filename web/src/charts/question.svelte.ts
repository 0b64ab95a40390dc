// What a chart asks: at the step that its width can show, of the time of the page, again and again while somebody sees it.

import { resource, type Loaded } from '../api/resource.svelte';
import { router } from '../lib/router.svelte';
import { lengthS, stepS } from '../lib/time';
import { whenSeen } from './seen';
import type { Attachment } from 'svelte/attachments';

export interface Question<T> {
  /** Of the place it is drawn in, px; whoever draws sets it. */
  width: number;
  /** Tells whether it is seen. */
  readonly seen: Attachment;
  readonly loaded: Loaded<T>;
  /** The answer, once there is one. */
  readonly value: T | null;
  /** Whether nothing of it was ever measured: the daemon does not know the metric. */
  readonly isUnknown: boolean;
}

interface Options {
  /** How wide a step is at least, px. */
  stepPx?: number;
  /** How often it is asked at most. */
  leastMs?: number;
}

/** Asks for `path(step)`; what it is about is told by `key`: when that changes, the answer before is of no use. */
export function question<T>(
  path: (stepS: number) => string,
  key: () => string,
  { stepPx = 2, leastMs = 1_000 }: Options = {},
): Question<T> {
  let width = $state(0);
  let isSeen = $state(false);
  let asked = $state.raw<{ path: string; key: string } | null>(null);
  const step = $derived(stepS(lengthS(router.current.range), ((width || 600) * 2) / stepPx));

  $effect.pre(() => {
    if (isSeen && width > 0) asked = { path: path(step), key: key() };
  });
  const answer = resource<T>(
    () => asked?.path ?? null,
    () => (isSeen && router.current.range.kind === 'live' ? Math.max(leastMs, step * 1_000) : null),
    () => asked?.key ?? '',
  );
  return {
    get width() {
      return width;
    },
    set width(px) {
      width = px;
    },
    seen: whenSeen((is) => (isSeen = is)),
    get loaded() {
      return answer.current;
    },
    get value() {
      return answer.current.status === 'ready' ? answer.current.value : null;
    },
    get isUnknown() {
      return answer.current.status === 'failed' && answer.current.failure.kind === 'not_found';
    },
  };
}
