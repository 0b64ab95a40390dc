// The live overview: what the daemon says at each tick, the last minutes of it, and whether it still says anything.

import { held } from '../charts/data';
import { Ring } from '../lib/ring';
import { get, url } from './client';
import type { HostBrief, LiveList, LiveRow, QueryAnswer, RecordedBrief } from './types';

export type Connection = 'connecting' | 'live' | 'lost';

/** Silence after which the daemon counts as gone, unless its ticks are further apart. */
const SILENCE_MS = 5_000;
const SILENT_TICKS = 3;
const RETRY_MS = 1_000;
/** Values of a sparkline. */
export const KEPT = 90;

export const SPARKS = ['cpu', 'runqueue', 'block', 'network', 'memory'] as const;
export type Spark = (typeof SPARKS)[number];
export type Sparks = Record<Spark, Ring>;

const newSparks = (): Sparks => ({
  cpu: new Ring(KEPT),
  runqueue: new Ring(KEPT),
  block: new Ring(KEPT),
  network: new Ring(KEPT),
  memory: new Ring(KEPT),
});

/** How each sparkline's past is asked for. Values as they come live: seconds become ns. */
const PASTS: Record<Spark, { params: Record<string, string>; factor: number }> = {
  cpu: { params: { metric: 'cgscope_sched_cpu_seconds_total' }, factor: 1 },
  runqueue: { params: { metric: 'cgscope_sched_runqueue_latency_seconds', q: '0.99' }, factor: 1e9 },
  block: { params: { metric: 'cgscope_block_latency_seconds', match: 'phase=total', q: '0.99' }, factor: 1e9 },
  network: { params: { metric: 'cgscope_tcp_bytes_total' }, factor: 1 },
  memory: { params: { metric: 'cgscope_memory_use_bytes' }, factor: 1 },
};

class Live {
  connection = $state<Connection>('connecting');
  /** Newest first by stall; replaced at each tick. */
  rows = $state.raw<LiveRow[]>([]);
  host = $state.raw<HostBrief | null>(null);
  /** When the newest tick ended, ms; 0 before the first. */
  atMs = $state(0);
  spanMs = $state(1_000);
  /** What is replayed: then nothing new comes, and `now` is its end. */
  recording = $state.raw<RecordedBrief | null>(null);
  /** Whether units, plain cgroups, the host and the dead are wanted too. */
  all = $state(false);

  #sparks = new Map<string, Sparks>();
  #source: EventSource | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #lastMs = 0;
  #hasPast = false;

  start(all: boolean): void {
    this.all = all;
    this.#open();
    setInterval(() => this.#watch(), 1_000);
  }

  setAll(all: boolean): void {
    if (all === this.all) return;
    this.all = all;
    this.#hasPast = false;
    this.#open();
  }

  sparks(id: string): Sparks {
    let sparks = this.#sparks.get(id);
    if (!sparks) this.#sparks.set(id, (sparks = newSparks()));
    return sparks;
  }

  /** The row of a container, if it is in the list. */
  find(id: string): LiveRow | undefined {
    return this.rows.find((row) => row.id === id);
  }

  /** What `now` means to whoever answers. */
  nowMs(): number {
    return this.recording === null ? Date.now() : this.recording.to / 1e6;
  }

  #open(): void {
    clearTimeout(this.#retry);
    this.#source?.close();
    const source = new EventSource(url('stream', { all: this.all }));
    this.#source = source;
    this.#lastMs = Date.now();
    source.addEventListener('overview', (event) => this.#take(JSON.parse((event as MessageEvent<string>).data)));
    source.addEventListener('error', () => {
      this.connection = 'lost';
      // A refused connection ends an EventSource in some browsers and not in others: we try again ourselves.
      source.close();
      this.#retry = setTimeout(() => this.#open(), RETRY_MS);
    });
  }

  #take(list: LiveList): void {
    this.#lastMs = Date.now();
    this.spanMs = list.span_ns / 1e6;
    const kept = new Set<string>();
    for (const { id, activity, brief } of list.containers) {
      kept.add(id);
      const sparks = this.sparks(id);
      sparks.cpu.push(activity?.cpu_cores);
      sparks.runqueue.push(activity?.runqueue?.p99_ns);
      sparks.block.push(brief.block_p99_ns);
      sparks.network.push(brief.network_bytes_per_second);
      sparks.memory.push(brief.memory_bytes);
    }
    for (const id of this.#sparks.keys()) if (!kept.has(id)) this.#sparks.delete(id);
    this.rows = list.containers;
    this.host = list.host;
    this.recording = list.recording;
    this.atMs = list.at / 1e6;
    this.connection = 'live';
    if (!this.#hasPast) {
      this.#hasPast = true;
      void this.#readPast();
    }
  }

  /** What was before the page was opened. Without history the lines begin now. */
  async #readPast(): Promise<void> {
    const span = { start: `-${KEPT}s`, end: 'now', step: '1s', by: 'container_id' };
    for (const spark of SPARKS) {
      const { params, factor } = PASTS[spark];
      const answer = await get<QueryAnswer>(url('query', { ...params, ...span }));
      if (!answer?.ok) continue;
      for (const { labels, values } of answer.value.series) {
        const ring = this.#sparks.get(labels['container_id'] ?? '')?.[spark];
        if (!ring) continue;
        // The newest steps have come live already.
        const past = held(values).slice(0, -1 - ring.values.length);
        ring.fill(past.map((value) => (value === null ? null : value * factor)));
      }
    }
  }

  #watch(): void {
    if (this.recording !== null) return;
    if (this.connection === 'live' && Date.now() - this.#lastMs > Math.max(SILENCE_MS, SILENT_TICKS * this.spanMs)) {
      this.connection = 'lost';
      this.#open();
    }
  }
}

export const live = new Live();
