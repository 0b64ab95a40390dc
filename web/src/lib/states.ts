// The states a thread is in, in the order of every bar: from work, over being kept from it, to rest.

export interface State {
  name: string;
  /** For bars, so that no colour is needed. */
  letter: string;
  title: string;
  help: string;
}

const state = (name: string, letter: string, title: string, help: string): State => ({ name, letter, title, help });

export const STATES: readonly State[] = [
  state('running.user', 'U', 'running, own code', 'on a CPU, in the code of programs'),
  state('running.kernel', 'K', 'running, kernel', 'on a CPU, in the kernel'),
  state('stolen', 'S', 'stolen', 'on a CPU that the hypervisor or an interrupt had taken'),
  state('runnable', 'R', 'waiting for a CPU', 'could run, and others ran'),
  state('throttled', 'T', 'throttled', 'kept from running by its own CPU quota'),
  state('blocked.disk', 'D', 'disk', 'waiting for a disk'),
  state('blocked.fault', 'F', 'page fault', 'waiting for memory that was touched'),
  state('blocked.lock', 'L', 'lock', 'waiting for a lock (futex, flock)'),
  state('blocked.network', 'N', 'network', 'in accept, connect, send or receive'),
  state('blocked.pipe', 'P', 'pipe', 'in read or write of a pipe'),
  state('blocked.other', 'O', 'other call', 'blocked in another system call'),
  state('sleeping', '·', 'sleeping', 'waiting on purpose: poll, nanosleep, wait'),
  state('unknown', '?', 'unknown', 'cannot be told'),
];

const BY_NAME = new Map(STATES.map((state) => [state.name, state]));
const UNKNOWN = STATES[STATES.length - 1]!;

/** The state of a name; one that this page does not know is `unknown`. */
export function stateOf(name: string): State {
  return BY_NAME.get(name) ?? UNKNOWN;
}

/** The variable of its colour in the style sheet. */
export function colourVariable(name: string): string {
  return `--state-${stateOf(name).name.replace('.', '-')}`;
}

const LIGHT = new Set(['running.kernel', 'runnable', 'blocked.lock', 'blocked.network', 'blocked.pipe']);

/** The ink that is read on its colour. */
export function inkVariable(name: string): string {
  if (name === 'sleeping') return '--faint';
  return LIGHT.has(name) ? '--ink-on-light' : '--ink-on-dark';
}

/** Whether a thread in it wants to go on and cannot. */
export function isStall(name: string): boolean {
  return name === 'stolen' || name === 'runnable' || name === 'throttled' || name.startsWith('blocked.');
}

export interface Share {
  state: string;
  share: number;
}

/** Shares in the order of the bar, states that are not known here added to `unknown`, so that they still sum to 1. */
export function ordered(shares: readonly Share[]): Share[] {
  const sums = new Map<string, number>();
  for (const { state, share } of shares) {
    const name = stateOf(state).name;
    sums.set(name, (sums.get(name) ?? 0) + share);
  }
  return STATES.flatMap(({ name }) => {
    const share = sums.get(name) ?? 0;
    return share > 0 ? [{ state: name, share }] : [];
  });
}

/** Without the time that was slept on purpose; the rest again sums to 1. */
export function awake(shares: readonly Share[]): Share[] {
  const rest = shares.filter(({ state }) => state !== 'sleeping');
  const sum = rest.reduce((sum, { share }) => sum + share, 0);
  return sum > 0 ? rest.map(({ state, share }) => ({ state, share: share / sum })) : [];
}

/** In words, for those who do not see the bar. */
export function inWords(shares: readonly Share[], percent: (share: number) => string): string {
  const words = shares.map(({ state, share }) => `${stateOf(state).title} ${percent(share)}`);
  return words.join(', ') || 'nothing measured';
}
