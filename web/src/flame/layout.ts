// Where each box of a flame graph lies, and which boxes a piece of the screen shows. Pure.
//
// Contract: `x` and `width` are shares of the whole, 0 to 1; of a difference a box is as wide as the larger of its two sides, so
// that what vanished is still seen. Boxes of a row do not overlap and are in order.

import type { Tree } from './tree';

export interface Layout {
  x: Float64Array;
  width: Float64Array;
  depth: Int32Array;
  /** The nodes of each row, from left to right. */
  rows: Int32Array[];
}

/** The weight that is drawn as a width. */
function widths(tree: Tree): Float64Array {
  const { before, ownBefore } = tree;
  if (!before || !ownBefore) return tree.value;
  // The larger side of each own weight, added up: then children still fit their parent.
  const width = new Float64Array(tree.value.length);
  for (let i = width.length - 1; i >= 0; i -= 1) {
    width[i]! += Math.max(tree.own[i]!, ownBefore[i]!);
    const above = tree.parent[i]!;
    if (above !== -1) width[above]! += width[i]!;
  }
  return width;
}

/** The widest first among those of one parent. */
export function layout(tree: Tree): Layout {
  const length = tree.frame.length;
  const weight = widths(tree);
  const depth = new Int32Array(length);
  const firstChild = new Int32Array(length).fill(-1);
  const next = new Int32Array(length).fill(-1);
  const roots: number[] = [];
  for (let i = length - 1; i >= 0; i -= 1) {
    const above = tree.parent[i]!;
    if (above === -1) roots.push(i);
    else {
      next[i] = firstChild[above]!;
      firstChild[above] = i;
    }
  }
  roots.reverse();
  const bySize = (a: number, b: number) => weight[b]! - weight[a]! || a - b;
  const total = roots.reduce((sum, root) => sum + weight[root]!, 0) || 1;
  const x = new Float64Array(length);
  const width = new Float64Array(length);
  const rows: number[][] = [];
  let row = roots.sort(bySize);
  let at = 0;
  for (const root of row) {
    x[root] = at;
    width[root] = weight[root]! / total;
    at += width[root]!;
  }
  // Row by row: the children of a row, in its order, are the next row in order.
  while (row.length > 0) {
    rows.push(row);
    const below: number[] = [];
    for (const node of row) {
      const children: number[] = [];
      for (let child = firstChild[node]!; child !== -1; child = next[child]!) children.push(child);
      children.sort(bySize);
      let left = x[node]!;
      for (const child of children) {
        x[child] = left;
        width[child] = weight[child]! / total;
        depth[child] = rows.length;
        left += width[child]!;
        below.push(child);
      }
    }
    row = below;
  }
  return { x, width, depth, rows: rows.map((row) => Int32Array.from(row)) };
}

/** What of the graph is on the screen: shares of the whole. */
export interface View {
  left: number;
  right: number;
}

export const WHOLE: View = { left: 0, right: 1 };

/** The place in a row of the first box that ends right of `left`. */
export function firstVisible(layout: Layout, row: Int32Array, left: number): number {
  let low = 0;
  let high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const node = row[middle]!;
    if (layout.x[node]! + layout.width[node]! <= left) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The boxes of a row that a view shows. Of those narrower than `least` one stands for all that begin within `least` of it, so that
 *  no more are drawn than there are pixels. */
export function visible(
  layout: Layout,
  row: Int32Array,
  view: View,
  least: number,
  draw: (node: number) => void,
): void {
  let i = firstVisible(layout, row, view.left);
  while (i < row.length) {
    const node = row[i]!;
    const x = layout.x[node]!;
    if (x >= view.right) return;
    draw(node);
    i += 1;
    if (layout.width[node]! < least) {
      const skipped = firstVisible(layout, row, x + least);
      if (skipped > i) i = skipped;
    }
  }
}

/** The box at a place, -1 for none. */
export function hit(layout: Layout, x: number, depth: number): number {
  const row = layout.rows[depth];
  if (!row) return -1;
  const node = row[firstVisible(layout, row, x)];
  return node !== undefined && layout.x[node]! <= x ? node : -1;
}

/** A view moved by a share of itself, held inside the whole. */
export function panned({ left, right }: View, by: number): View {
  const width = right - left;
  const start = Math.min(Math.max(0, left + by * width), 1 - width);
  return { left: start, right: start + width };
}

/** A view zoomed around `at` (0..1 of the view) by a factor; at most a millionth of the whole is seen. */
export function scaledView({ left, right }: View, at: number, factor: number): View {
  const width = Math.min(1, Math.max(1e-6, (right - left) * factor));
  const centre = left + (right - left) * at;
  const start = Math.min(Math.max(0, centre - width * at), 1 - width);
  return { left: start, right: start + width };
}
