import { describe, expect, it } from 'vitest';
import type { DiffDocument, FrameKind, ProfileDocument } from '../src/api/types';
import { hit, layout, panned, scaledView, visible, WHOLE } from '../src/flame/layout';
import { search } from '../src/flame/search';
import { Builder, fromDiff, fromProfile, pathTo, type Tree } from '../src/flame/tree';
import { folded, functions, sandwich, select, statesOf, weightByState } from '../src/flame/views';

/** A tree of lines such as `a;b 3`. `k:` before a name is a kernel frame, `[x]` a state, the first a thread. */
function tree(lines: string[]): Tree {
  const frames: { name: string; kind: FrameKind }[] = [];
  const places = new Map<string, number>();
  const frameOf = (text: string, depth: number) => {
    const kind: FrameKind = text.startsWith('k:')
      ? 'kernel'
      : text.startsWith('[lost')
        ? 'lost'
        : text.startsWith('[')
          ? 'state'
          : depth === 0
            ? 'thread'
            : 'user';
    const name = text.replace(/^k:/, '');
    const key = `${kind} ${name}`;
    let place = places.get(key);
    if (place === undefined) places.set(key, (place = frames.push({ name, kind }) - 1));
    return place;
  };
  const builder = new Builder(frames, 'samples', false);
  for (const line of lines) {
    const [stack = '', count] = line.split(' ');
    let node = -1;
    stack.split(';').forEach((text, depth) => (node = builder.child(node, frameOf(text, depth))));
    builder.add(node, Number(count), 0);
  }
  return builder.finish();
}

const EXAMPLE = ['t;main;a;b 3', 't;main;a 2', 't;main;c 4', 't;main;a;k:read 1', 'u;main;b 5'];
const lines = (tree: Tree) => folded(tree).trim().split('\n');

describe('the tree', () => {
  it('is read from a document in preorder', () => {
    const document = {
      unit: 'samples',
      frames: [
        { name: 't', kind: 'thread' },
        { name: 'f', kind: 'user' },
      ],
      nodes: [
        { frame: 0, parent: null, value: 5, self: 2 },
        { frame: 1, parent: 0, value: 3, self: 3 },
      ],
    } as unknown as ProfileDocument;
    const read = fromProfile(document);
    expect(read.total).toBe(5);
    expect(pathTo(read, 1)).toEqual([0, 1]);
    expect(lines(read)).toEqual(['t 2', 't;f 3']);
  });

  it('sums what it is built of', () => {
    const built = tree(EXAMPLE);
    expect(built.total).toBe(15);
    for (let i = 0; i < built.frame.length; i += 1) expect(built.parent[i]!).toBeLessThan(i);
    expect(lines(built)).toEqual(['t;main;a 2', 't;main;a;b 3', 't;main;a;read_[k] 1', 't;main;c 4', 'u;main;b 5']);
  });
});

describe('the layout', () => {
  it('puts children within their parents, side by side, the widest first', () => {
    const built = tree(EXAMPLE);
    const { x, width, rows, depth } = layout(built);
    expect(rows.map((row) => row.length)).toEqual([2, 2, 3, 2]);
    for (const row of rows) {
      for (let i = 1; i < row.length; i += 1)
        expect(x[row[i]!]!).toBeGreaterThanOrEqual(x[row[i - 1]!]! + width[row[i - 1]!]! - 1e-12);
    }
    for (let i = 0; i < built.frame.length; i += 1) {
      const above = built.parent[i]!;
      if (above === -1) continue;
      expect(depth[i]).toBe(depth[above]! + 1);
      expect(x[i]!).toBeGreaterThanOrEqual(x[above]! - 1e-12);
      expect(x[i]! + width[i]!).toBeLessThanOrEqual(x[above]! + width[above]! + 1e-12);
    }
    expect(width[rows[0]![0]!]!).toBeCloseTo(10 / 15);
  });

  it('finds the box under a place, and none beside', () => {
    const built = tree(EXAMPLE);
    const where = layout(built);
    for (let i = 0; i < built.frame.length; i += 1)
      expect(hit(where, where.x[i]! + where.width[i]! / 2, where.depth[i]!)).toBe(i);
    expect(hit(where, 0.999, 3)).toBe(-1);
    expect(hit(where, 0.5, 99)).toBe(-1);
  });

  it('draws one box for many that are too narrow', () => {
    const wide = tree(Array.from({ length: 50_000 }, (_, i) => `t;f${i} 1`));
    const where = layout(wide);
    let drawn = 0;
    visible(where, where.rows[1]!, WHOLE, 0.001, () => (drawn += 1));
    expect(drawn).toBeGreaterThan(900);
    expect(drawn).toBeLessThanOrEqual(1_050);
    drawn = 0;
    visible(where, where.rows[1]!, { left: 0.5, right: 0.5002 }, 0, () => (drawn += 1));
    expect(drawn).toBeGreaterThanOrEqual(10);
    expect(drawn).toBeLessThanOrEqual(12);
  });

  it('moves and zooms without leaving the whole', () => {
    expect(panned({ left: 0.2, right: 0.4 }, -5)).toEqual({ left: 0, right: 0.2 });
    const zoomed = scaledView(WHOLE, 0.25, 0.5);
    expect([zoomed.left, zoomed.right]).toEqual([0.125, 0.625]);
    expect(scaledView(WHOLE, 0.5, 10)).toEqual(WHOLE);
  });

  it('handles 100,000 boxes and nothing at all', () => {
    expect(layout(tree([])).rows).toEqual([]);
    const deep = tree(
      Array.from(
        { length: 2_000 },
        (_, i) => `t;${Array.from({ length: 50 }, (_, d) => `f${d}_${i % (d * 40 + 1)}`).join(';')} ${(i % 7) + 1}`,
      ),
    );
    expect(deep.frame.length).toBeGreaterThan(50_000);
    expect(layout(deep).rows.length).toBe(51);
  });
});

describe('search', () => {
  it('counts weight once, however often a stack matches', () => {
    const built = tree(['t;a;b;a 4', 't;c 6']);
    const found = search(built, 'a')!;
    expect([found.count, found.weight, found.share]).toEqual([2, 4, 0.4]);
  });

  it('takes regular expressions, and those that are none as text', () => {
    const built = tree(['t;abc 4', 't;a( 6']);
    expect(search(built, '/^ab/')!.weight).toBe(4);
    expect(search(built, '/(/')!.weight).toBe(0);
    expect(search(built, 'A(')!.weight).toBe(6);
    expect(search(built, '')).toBeNull();
  });
});

describe('states of stacks', () => {
  it('follow the state frame, or where the innermost frame lies', () => {
    const on = tree(EXAMPLE);
    expect(Object.fromEntries(weightByState(on))).toEqual({ 'running.user': 14, 'running.kernel': 1 });
    const off = tree(['t;[blocked.lock];main;k:futex 7', 't;[sleeping];main 3', '[lost:x] 2']);
    expect(Object.fromEntries(weightByState(off))).toEqual({ 'blocked.lock': 7, sleeping: 3, unknown: 2 });
    expect(statesOf(off)).toHaveLength(off.frame.length);
  });

  it('can be left out, and put at the root', () => {
    const off = tree(['t;[blocked.lock];main;k:futex 7', 't;[sleeping];main 3']);
    const rest = select(off, { hidden: new Set(['sleeping']), withoutThreads: false, byState: false });
    expect(lines(rest)).toEqual(['t;[blocked.lock];main;futex_[k] 7']);
    const split = select(tree(EXAMPLE), { hidden: new Set(), withoutThreads: true, byState: true });
    expect(lines(split)).toEqual([
      '[running.kernel];main;a;read_[k] 1',
      '[running.user];main;a 2',
      '[running.user];main;a;b 3',
      '[running.user];main;b 5',
      '[running.user];main;c 4',
    ]);
    expect(split.total).toBe(15);
  });

  it('change nothing when nothing is chosen', () => {
    const built = tree(EXAMPLE);
    expect(select(built, { hidden: new Set(), withoutThreads: false, byState: false })).toBe(built);
  });
});

describe('functions', () => {
  it('count recursion once', () => {
    const rows = functions(tree(['t;f;g;f 4', 't;f 1', 't;h 5']));
    const f = rows.find(({ name }) => name === 'f')!;
    expect([f.own, f.total]).toEqual([5, 5]);
    expect(rows.find(({ name }) => name === 'g')!.total).toBe(4);
  });

  it('have callers and callees', () => {
    const { callers, callees } = sandwich(tree(EXAMPLE), 'b');
    expect(lines(callers)).toEqual(['b;a;main;t 3', 'b;main;u 5']);
    expect(lines(callees)).toEqual(['b 8']);
    const recursive = sandwich(tree(['t;f;g;f;h 4', 't;f 1']), 'f');
    expect(recursive.callees.total).toBe(5);
    expect(lines(recursive.callees)).toEqual(['f 1', 'f;g;f;h 4']);
    expect(lines(recursive.callers)).toEqual(['f;t 5']);
    expect(sandwich(tree(EXAMPLE), 'none').callees.frame).toHaveLength(0);
  });
});

describe('a difference', () => {
  const diff = {
    unit: 'samples',
    factor: 0.5,
    frames: [
      { name: 't', kind: 'thread' },
      { name: 'old', kind: 'user' },
      { name: 'new', kind: 'user' },
    ],
    nodes: [
      { frame: 0, parent: null, a: 20, b: 10, self_a: 0, self_b: 4 },
      { frame: 1, parent: 0, a: 20, b: 0, self_a: 20, self_b: 0 },
      { frame: 2, parent: 0, a: 0, b: 6, self_a: 0, self_b: 6 },
    ],
  } as unknown as DiffDocument;

  it('shows what vanished as wide as it was', () => {
    const built = fromDiff(diff);
    expect([built.total, built.totalBefore]).toEqual([10, 10]);
    const { width } = layout(built);
    expect(width[1]).toBeCloseTo(10 / 20);
    expect(width[2]).toBeCloseTo(6 / 20);
    expect(width[0]).toBe(1);
  });

  it('keeps both sides in views and in lines', () => {
    const built = fromDiff(diff);
    const split = select(built, { hidden: new Set(), withoutThreads: true, byState: false });
    expect(lines(split)).toEqual(['new 0 6', 'old 10 0', 't 0 4']);
    const rows = functions(built);
    expect(rows.find(({ name }) => name === 'old')).toMatchObject({ own: 0, ownBefore: 10, totalBefore: 10 });
  });
});
