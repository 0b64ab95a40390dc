// How lines are called and coloured, by what they are of. Pure.

import { colourVariable, STATES, stateOf } from '../lib/states';
import type { Style } from './data';

const place = new Map(STATES.map(({ name }, i) => [name, i]));

/** Of thread states: the colours and order of every bar. */
export const BY_STATE: Style = {
  label: (labels) => stateOf(labels['state'] ?? '').title,
  colour: (labels) => colourVariable(labels['state'] ?? ''),
  withoutZeros: true,
  order: (labels) => place.get(labels['state'] ?? '') ?? STATES.length,
};

/** A single line. */
export function one(label: string, colour = '--series-0'): Style {
  return { label: () => label, colour: () => colour };
}

/** By the values of some labels. */
export function by(...names: string[]): Style {
  return {
    label: (labels) =>
      names
        .map((name) => labels[name] ?? '')
        .filter(Boolean)
        .join(' ') || 'all',
    most: 8,
  };
}
