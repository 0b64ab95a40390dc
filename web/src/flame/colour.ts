// Colours of boxes: a hue for what kind of code it is, a shade for its file; of a difference, how much it changed. Pure.

import type { FrameKind } from '../api/types';

/** A number from 0 to 1 for a text, always the same. */
export function hash(text: string): number {
  let value = 2_166_136_261;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 16_777_619);
  return ((value >>> 0) % 1_000) / 1_000;
}

const HUES: Record<FrameKind, readonly [from: number, to: number, saturation: number]> = {
  thread: [215, 215, 12],
  state: [215, 215, 25],
  waker: [265, 265, 25],
  user: [22, 48, 72],
  inlined: [48, 62, 60],
  jit: [88, 118, 45],
  kernel: [196, 222, 52],
  unknown: [0, 0, 0],
  missing: [0, 0, 0],
  lost: [0, 0, 0],
};

export function colour(kind: FrameKind, name: string, module: string | null | undefined, isDark: boolean): string {
  const [from, to, saturation] = HUES[kind];
  const hue = from + (to - from) * hash(module ?? name);
  const light = (isDark ? 36 : 70) + hash(name) * (isDark ? 9 : 9);
  return `hsl(${hue.toFixed(0)} ${isDark ? saturation * 0.75 : saturation}% ${light.toFixed(0)}%)`;
}

/** `change` is of the whole, -1 to 1: red grew, blue shrank, by how much in steps that still tell small from none. */
export function changeColour(change: number, isDark: boolean): string {
  const strength = Math.min(1, Math.sqrt(Math.abs(change)) * 2.2);
  if (strength < 0.03) return isDark ? 'hsl(215 6% 38%)' : 'hsl(215 12% 84%)';
  const hue = change > 0 ? 4 : 214;
  const light = isDark ? 36 + strength * 10 : 88 - strength * 30;
  return `hsl(${hue} ${(35 + strength * 45).toFixed(0)}% ${light.toFixed(0)}%)`;
}
