// Finding frames by name, and how much of the whole they are. Pure.

import type { Tree } from './tree';

export interface Matches {
  /** By place in `frames`. */
  frames: Uint8Array;
  /** Nodes whose frame matches. */
  count: number;
  /** Weight below or at a match, each once. */
  weight: number;
  /** Of the whole, 0 to 1. */
  share: number;
}

/** A text in any case; `/.../` is a regular expression, and one that is none matches as text. */
export function matcher(query: string): (name: string) => boolean {
  const regular = /^\/(.+)\/$/.exec(query);
  if (regular) {
    try {
      const expression = new RegExp(regular[1]!, 'i');
      return (name) => expression.test(name);
    } catch {
      // As text then.
    }
  }
  const wanted = query.toLowerCase();
  return (name) => name.toLowerCase().includes(wanted);
}

export function search(tree: Tree, query: string): Matches | null {
  if (query === '') return null;
  const matches = matcher(query);
  const frames = Uint8Array.from(tree.frames, ({ name, module }) =>
    matches(name) || (module != null && matches(module)) ? 1 : 0,
  );
  // Whether a match is on the path to a node: parents come first.
  const isBelow = new Uint8Array(tree.frame.length);
  let count = 0;
  let weight = 0;
  for (let i = 0; i < tree.frame.length; i += 1) {
    const above = tree.parent[i]!;
    const isUnder = above !== -1 && isBelow[above] === 1;
    const isMatch = frames[tree.frame[i]!] === 1;
    if (isMatch) count += 1;
    if (isMatch && !isUnder) weight += tree.value[i]!;
    isBelow[i] = isMatch || isUnder ? 1 : 0;
  }
  return { frames, count, weight, share: tree.total > 0 ? weight / tree.total : 0 };
}
