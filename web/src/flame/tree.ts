// A call tree in flat arrays, whatever it was made of. Pure.
//
// Contract: nodes are in preorder, a parent before its children; `value` counts the node and all above it, `own` the node
// alone. Of a difference both are those of B, and `before`/`ownBefore` those of A, scaled to compare.

import type { DiffDocument, DiffFrame, FrameKind, ProfileDocument, ProfileFrame, ProfileUnit } from '../api/types';

/** A difference does not name files. */
export type Frame = DiffFrame & Partial<ProfileFrame>;

export interface Tree {
  frames: readonly Frame[];
  unit: ProfileUnit;
  /** Place in `frames` of each node. */
  frame: Int32Array;
  /** Place of the parent, -1 for a root. */
  parent: Int32Array;
  value: Float64Array;
  own: Float64Array;
  /** Of a difference. */
  before?: Float64Array;
  ownBefore?: Float64Array;
  total: number;
  totalBefore?: number;
}

export function fromProfile(document: ProfileDocument): Tree {
  const { nodes } = document;
  const tree = empty(document.frames, document.unit, nodes.length);
  nodes.forEach((node, i) => {
    tree.frame[i] = node.frame;
    tree.parent[i] = node.parent ?? -1;
    tree.value[i] = node.value;
    tree.own[i] = node.self;
  });
  tree.total = rootsOf(tree, tree.value);
  return tree;
}

export function fromDiff(document: DiffDocument): Tree {
  const { nodes, factor } = document;
  const tree = empty(document.frames, document.unit, nodes.length);
  const before = new Float64Array(nodes.length);
  const ownBefore = new Float64Array(nodes.length);
  nodes.forEach((node, i) => {
    tree.frame[i] = node.frame;
    tree.parent[i] = node.parent ?? -1;
    tree.value[i] = node.b;
    tree.own[i] = node.self_b;
    before[i] = node.a * factor;
    ownBefore[i] = node.self_a * factor;
  });
  return { ...tree, before, ownBefore, total: rootsOf(tree, tree.value), totalBefore: rootsOf(tree, before) };
}

export function empty(frames: readonly Frame[], unit: Tree['unit'], length: number): Tree {
  return {
    frames,
    unit,
    frame: new Int32Array(length),
    parent: new Int32Array(length),
    value: new Float64Array(length),
    own: new Float64Array(length),
    total: 0,
  };
}

function rootsOf(tree: Tree, value: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < tree.parent.length; i += 1) if (tree.parent[i] === -1) sum += value[i]!;
  return sum;
}

export function kindOf(tree: Tree, node: number): FrameKind {
  return tree.frames[tree.frame[node]!]!.kind;
}

export function nameOf(tree: Tree, node: number): string {
  return tree.frames[tree.frame[node]!]!.name;
}

/** Frames that say what is not known rather than what ran. */
export function isDoubt(kind: FrameKind): boolean {
  return kind === 'unknown' || kind === 'missing' || kind === 'lost';
}

/** The nodes from a root to this one. */
export function pathTo(tree: Tree, node: number): number[] {
  const path = [];
  for (let at = node; at !== -1; at = tree.parent[at]!) path.push(at);
  return path.reverse();
}

/** Builds a tree from stacks: equal frames under equal parents are one node. */
export class Builder {
  readonly frame: number[] = [];
  readonly parent: number[] = [];
  readonly own: number[] = [];
  readonly ownBefore: number[] = [];
  #children: Map<number, number>[] = [];
  #roots = new Map<number, number>();

  constructor(
    readonly frames: readonly Frame[],
    readonly unit: Tree['unit'],
    readonly isDiff: boolean,
  ) {}

  /** The node of a frame under a parent (-1: a root), made if it is not there. */
  child(parent: number, frame: number): number {
    const children = parent === -1 ? this.#roots : this.#children[parent]!;
    let node = children.get(frame);
    if (node === undefined) {
      node = this.frame.length;
      children.set(frame, node);
      this.frame.push(frame);
      this.parent.push(parent);
      this.own.push(0);
      this.ownBefore.push(0);
      this.#children.push(new Map());
    }
    return node;
  }

  add(node: number, own: number, ownBefore: number): void {
    this.own[node]! += own;
    this.ownBefore[node]! += ownBefore;
  }

  /** In preorder, with the sums. */
  finish(): Tree {
    const order: number[] = [];
    const pending = [...this.#roots.values()].reverse();
    while (pending.length > 0) {
      const node = pending.pop()!;
      order.push(node);
      const children = [...this.#children[node]!.values()];
      for (let i = children.length - 1; i >= 0; i -= 1) pending.push(children[i]!);
    }
    const place = new Int32Array(order.length);
    order.forEach((node, i) => (place[node] = i));
    const tree = empty(this.frames, this.unit, order.length);
    const ownBefore = new Float64Array(order.length);
    order.forEach((node, i) => {
      tree.frame[i] = this.frame[node]!;
      const parent = this.parent[node]!;
      tree.parent[i] = parent === -1 ? -1 : place[parent]!;
      tree.own[i] = this.own[node]!;
      ownBefore[i] = this.ownBefore[node]!;
    });
    sumUp(tree.parent, tree.own, tree.value);
    tree.total = rootsOf(tree, tree.value);
    if (!this.isDiff) return tree;
    const before = new Float64Array(order.length);
    sumUp(tree.parent, ownBefore, before);
    return { ...tree, before, ownBefore, totalBefore: rootsOf(tree, before) };
  }
}

/** Totals from own weights: from the last node to the first, children come before their parents. */
function sumUp(parent: Int32Array, own: Float64Array, value: Float64Array): void {
  value.set(own);
  for (let i = value.length - 1; i >= 0; i -= 1) {
    const above = parent[i]!;
    if (above !== -1) value[above]! += value[i]!;
  }
}
