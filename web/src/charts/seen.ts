// Whether something is on the screen, or nearly: what nobody sees is neither asked for nor drawn.

import type { Attachment } from 'svelte/attachments';

/** Charts are asked for a little before they come into view. */
const MARGIN_PX = 200;

const wants = new WeakMap<Element, (isSeen: boolean) => void>();
let observer: IntersectionObserver | null = null;

/** One observer for all. */
function observe(): IntersectionObserver {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) wants.get(target)?.(isIntersecting);
    },
    { rootMargin: `${MARGIN_PX}px` },
  );
  return observer;
}

export function whenSeen(tell: (isSeen: boolean) => void): Attachment {
  return (element) => {
    wants.set(element, tell);
    observe().observe(element);
    return () => observe().unobserve(element);
  };
}
