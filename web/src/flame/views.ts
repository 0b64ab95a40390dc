// Other ways to look at the same stacks: some states only, without threads, the callers and callees of one function. Pure.

import { stateOf } from '../lib/states';
import { Builder, type Tree } from './tree';

/** What each node's own weight is in: off the CPU the state frame above it, on the CPU by where its innermost frame lies. */
export function statesOf(tree: Tree): string[] {
  const states: string[] = [];
  const inherited: (string | null)[] = [];
  for (let i = 0; i < tree.frame.length; i += 1) {
    const { kind, name } = tree.frames[tree.frame[i]!]!;
    const above = tree.parent[i]!;
    const own = kind === 'state' ? known(name.replace(/^\[(.*)\]$/, '$1')) : null;
    inherited[i] = own ?? (above === -1 ? null : inherited[above]!);
    states[i] = inherited[i] ?? onCpu(kind);
  }
  return states;
}

const known = (name: string) => (name === 'state unknown' ? 'unknown' : stateOf(name).name);

function onCpu(kind: string): string {
  if (kind === 'kernel') return 'running.kernel';
  return kind === 'lost' || kind === 'unknown' ? 'unknown' : 'running.user';
}

/** The weight in each state. */
export function weightByState(tree: Tree): Map<string, number> {
  const states = statesOf(tree);
  const sums = new Map<string, number>();
  states.forEach((state, i) => {
    if (tree.own[i]! > 0) sums.set(state, (sums.get(state) ?? 0) + tree.own[i]!);
  });
  return sums;
}

/** What of the stacks is drawn. */
export interface Selection {
  /** States whose weight is left out. */
  hidden: ReadonlySet<string>;
  /** Whether threads of all names are one. */
  withoutThreads: boolean;
  /** Whether the state is put at the root, which divides the whole by it. */
  byState: boolean;
}

export function select(tree: Tree, { hidden, withoutThreads, byState }: Selection): Tree {
  if (hidden.size === 0 && !withoutThreads && !byState) return tree;
  const states = statesOf(tree);
  const frames = [...tree.frames];
  const stateFrames = new Map<string, number>();
  const stateFrame = (state: string) => {
    let frame = stateFrames.get(state);
    if (frame === undefined) {
      frame = frames.push({ name: `[${state}]`, kind: 'state' }) - 1;
      stateFrames.set(state, frame);
    }
    return frame;
  };
  const builder = new Builder(frames, tree.unit, tree.before !== undefined);
  // Where a node went: below each state that something of it is in.
  const places = new Map<string, Int32Array>();
  const placeOf = (node: number, state: string): number => {
    const key = byState ? state : '';
    let place = places.get(key);
    if (!place) places.set(key, (place = new Int32Array(tree.frame.length).fill(-2)));
    if (place[node] !== -2) return place[node]!;
    const path = [];
    let at = node;
    while (at !== -1 && place[at] === -2) {
      path.push(at);
      at = tree.parent[at]!;
    }
    let here = at !== -1 ? place[at]! : byState ? builder.child(-1, stateFrame(state)) : -1;
    for (const step of path.reverse()) {
      const { kind } = frames[tree.frame[step]!]!;
      const isLeftOut = (withoutThreads && kind === 'thread') || (byState && kind === 'state');
      if (!isLeftOut) here = builder.child(here, tree.frame[step]!);
      place[step] = here;
    }
    return here;
  };
  for (let i = 0; i < tree.frame.length; i += 1) {
    const own = tree.own[i]!;
    const ownBefore = tree.ownBefore?.[i] ?? 0;
    if ((own === 0 && ownBefore === 0) || hidden.has(states[i]!)) continue;
    let place = placeOf(i, states[i]!);
    // A thread whose own weight has no frame at all: it has to be somewhere.
    if (place === -1) place = builder.child(-1, tree.frame[i]!);
    builder.add(place, own, ownBefore);
  }
  return builder.finish();
}

export interface FunctionRow {
  name: string;
  kind: string;
  module: string | null;
  own: number;
  /** With what it called; a function that calls itself counts once. */
  total: number;
  ownBefore: number;
  totalBefore: number;
}

/** Each function once, by name and kind, the one with the most weight of its own first. */
export function functions(tree: Tree): FunctionRow[] {
  const rows = new Map<string, FunctionRow>();
  const keys = tree.frames.map(({ name, kind }) => `${kind} ${name}`);
  // How often each function is on the path to the node that is looked at.
  const depth = new Map<string, number>();
  const path: number[] = [];
  for (let i = 0; i < tree.frame.length; i += 1) {
    while (path.length > 0 && path[path.length - 1] !== tree.parent[i]) {
      const key = keys[tree.frame[path.pop()!]!]!;
      depth.set(key, depth.get(key)! - 1);
    }
    const { name, kind, module } = tree.frames[tree.frame[i]!]!;
    const key = keys[tree.frame[i]!]!;
    let row = rows.get(key);
    if (!row) {
      row = { name, kind, module: module ?? null, own: 0, total: 0, ownBefore: 0, totalBefore: 0 };
      rows.set(key, row);
    }
    row.own += tree.own[i]!;
    row.ownBefore += tree.ownBefore?.[i] ?? 0;
    if ((depth.get(key) ?? 0) === 0) {
      row.total += tree.value[i]!;
      row.totalBefore += tree.before?.[i] ?? 0;
    }
    depth.set(key, (depth.get(key) ?? 0) + 1);
    path.push(i);
  }
  return [...rows.values()].sort((a, b) => b.own - a.own || b.total - a.total || (a.name < b.name ? -1 : 1));
}

/** The callers of a function, inverted so that it is the root, and what it called. Weights are those of its outermost calls, so
 *  that recursion counts once. */
export function sandwich(tree: Tree, name: string, kind: string | null = null): { callers: Tree; callees: Tree } {
  const isDiff = tree.before !== undefined;
  const callers = new Builder(tree.frames, tree.unit, isDiff);
  const callees = new Builder(tree.frames, tree.unit, isDiff);
  const isIt = tree.frames.map((frame) => frame.name === name && (kind === null || frame.kind === kind));
  // The node of `callees` for each node at or below an outermost call, -1 outside.
  const placed = new Int32Array(tree.frame.length).fill(-1);
  // One root for all, though frames of one name may differ in their file.
  const root = isIt.indexOf(true);
  for (let i = 0; i < tree.frame.length; i += 1) {
    const above = tree.parent[i]!;
    const inside = above === -1 ? -1 : placed[above]!;
    if (inside === -1) {
      if (!isIt[tree.frame[i]!]) continue;
      placed[i] = callees.child(-1, root);
      let at = callers.child(-1, root);
      for (let up = above; up !== -1; up = tree.parent[up]!) at = callers.child(at, tree.frame[up]!);
      callers.add(at, tree.value[i]!, tree.before?.[i] ?? 0);
    } else {
      placed[i] = callees.child(inside, tree.frame[i]!);
    }
    callees.add(placed[i]!, tree.own[i]!, tree.ownBefore?.[i] ?? 0);
  }
  return { callers: callers.finish(), callees: callees.finish() };
}

/** Lines for flamegraph.pl and others, with the marks they know; of a difference with both weights. */
export function folded(tree: Tree): string {
  const marks: Record<string, string> = { kernel: '_[k]', inlined: '_[i]', jit: '_[j]' };
  const stack: string[] = [];
  const path: number[] = [];
  const lines = new Map<string, [number, number]>();
  for (let i = 0; i < tree.frame.length; i += 1) {
    while (path.length > 0 && path[path.length - 1] !== tree.parent[i]) {
      path.pop();
      stack.pop();
    }
    const { name, kind } = tree.frames[tree.frame[i]!]!;
    // Semicolons and line ends are the format's own.
    stack.push(name.replace(/[;\r\n]/g, ' ') + (marks[kind] ?? ''));
    path.push(i);
    const own = tree.own[i]!;
    const ownBefore = tree.ownBefore?.[i] ?? 0;
    if (own === 0 && ownBefore === 0) continue;
    const line = stack.join(';');
    const sum = lines.get(line);
    if (sum) {
      sum[0] += own;
      sum[1] += ownBefore;
    } else lines.set(line, [own, ownBefore]);
  }
  const isDiff = tree.before !== undefined;
  return [...lines]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([line, [own, before]]) => `${line} ${isDiff ? `${Math.round(before)} ${own}` : own}\n`)
    .join('');
}
