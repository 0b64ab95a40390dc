// What is said of a box. Pure.

import { bytes, count, percent, time } from '../lib/format';
import type { Tree } from './tree';

/** A weight in the unit of the tree. */
export function weight(tree: Pick<Tree, 'unit'>, value: number): string {
  if (tree.unit === 'nanoseconds') return time(value);
  if (tree.unit === 'bytes') return bytes(value);
  const whole = Math.round(value);
  const thing = tree.unit === 'events' ? 'event' : 'sample';
  return `${count(whole)} ${thing}${whole === 1 ? '' : 's'}`;
}

const signed = (share: number) => `${share > 0 ? '+' : share < 0 ? '−' : ''}${percent(Math.abs(share))}`;

export function describe(tree: Tree, node: number, whole = tree.total): string[] {
  const { module } = tree.frames[tree.frame[node]!]!;
  const [value, own] = [tree.value[node]!, tree.own[node]!];
  const lines: string[] = [];
  if (tree.before) {
    const wholeBefore = tree.totalBefore || 1;
    const [now, before] = [value / (tree.total || 1), tree.before[node]! / wholeBefore];
    lines.push(`before ${percent(before)}, after ${percent(now)} of all`);
    lines.push(
      value === 0
        ? 'gone: only in the earlier one'
        : before === 0
          ? 'new: only in the later one'
          : `change ${signed(now - before)} of all`,
    );
    return module ? [...lines, module] : lines;
  }
  lines.push(`${weight(tree, value)}, ${percent(value / (whole || 1))} of all`);
  lines.push(`itself ${weight(tree, own)}, ${percent(own / (whole || 1))}`);
  return module ? [...lines, module] : lines;
}
