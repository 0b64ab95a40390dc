// What the daemon's API answers: the types of `monitor/src/serve` and of what they hold, by hand, in one place.
// Times are integer nanoseconds and say so; what is not known is absent or null, never 0.

export type ErrorKind = 'not_found' | 'needs_privilege' | 'unsupported' | 'invalid' | 'failed' | 'ending';

export interface ErrorBody {
  error: string;
  remedy: string;
  kind: ErrorKind;
}

export interface Pod {
  name: string | null;
  namespace: string | null;
  uid: string | null;
}

export interface Container {
  id: string;
  name: string;
  runtime: string;
  image: string | null;
  pod: Pod | null;
  unit: string | null;
  slice: string | null;
  cgroup: string;
  created_at_ns: number | null;
  started_at_ns: number | null;
  died_at_ns: number | null;
}

export interface StateShare {
  state: string;
  time_ns: number;
  share: number;
}

export interface Activity {
  id: string;
  cpu_cores: number | null;
  throttled_share: number | null;
  runqueue: { count: number; p50_ns: number; p99_ns: number } | null;
  threads: number | null;
  states: StateShare[];
  stall: number | null;
}

export interface Brief {
  memory_bytes: number | null;
  memory_limit_bytes: number | null;
  cpu_limit_cores: number | null;
  network_bytes_per_second: number | null;
  block_bytes_per_second: number | null;
  block_p99_ns: number | null;
}

export interface LiveRow extends Container {
  alive: boolean;
  activity: Activity | null;
  brief: Brief;
}

export interface HostBrief {
  cpu_busy_cores: number | null;
  cpu_count: number | null;
  memory_used_bytes: number | null;
  memory_total_bytes: number | null;
  block_bytes_per_second: number | null;
  network_bytes_per_second: number | null;
  cpu_pressure: number | null;
  memory_pressure: number | null;
  io_pressure: number | null;
  load_1m: number | null;
}

/** Of what recording this is the last. */
export interface RecordedBrief {
  host: string;
  from: number;
  to: number;
  /** What is missing of it; empty if nothing is. */
  lost: string;
}

export interface LiveList {
  at: number;
  span_ns: number;
  host: HostBrief;
  containers: LiveRow[];
  /** Absent where it is measured. */
  recording?: RecordedBrief;
}

export interface ContainerList {
  at: number;
  span_ns: number;
  containers: (Container & { alive: boolean; activity: Activity | null })[];
}

export interface QuerySeries {
  labels: Record<string, string>;
  merged: number;
  values: (number | null)[];
  against?: (number | null)[];
}

export interface QueryAnswer {
  metric: string;
  kind: 'counter' | 'gauge' | 'distribution';
  unit: 'seconds' | 'bytes' | 'ratio' | 'count';
  fn: string;
  start_ns: number;
  end_ns: number;
  step_ns: number;
  resolution_ns: number;
  against?: { start_ns: number; end_ns: number; resolution_ns: number };
  series: QuerySeries[];
}

export interface StepBuckets {
  count: number;
  p50_ns: number | null;
  p95_ns: number | null;
  p99_ns: number | null;
  /** Places in `bounds_ns` with the values there. */
  buckets: [number, number][];
}

export interface BucketsAnswer {
  metric: string;
  start_ns: number;
  end_ns: number;
  step_ns: number;
  resolution_ns: number;
  merged: number;
  bounds_ns: number[];
  steps: (StepBuckets | null)[];
}

export type FrameKind =
  'thread' | 'state' | 'waker' | 'user' | 'jit' | 'inlined' | 'kernel' | 'unknown' | 'missing' | 'lost';

export type ProfileKind = 'on-cpu' | 'off-cpu' | 'wakeup' | 'block' | 'fault' | 'memory' | 'lock' | 'network';

export type ProfileUnit = 'samples' | 'nanoseconds' | 'bytes' | 'events';

export interface ProfileFrame {
  name: string;
  kind: FrameKind;
  module?: string | null;
}

export type Level = 'low' | 'medium' | 'high';

export interface ProfileDocument {
  kind: ProfileKind;
  unit: ProfileUnit;
  scope: string;
  started_at_ns: number;
  duration_ns: number;
  frequency_hz: number | null;
  total: number;
  lost: Record<string, number>;
  confidence: {
    level: Level;
    sample_count: number;
    lost_share: number;
    unresolved_share: number;
    truncated_share: number;
    doubts: string[];
  };
  frames: ProfileFrame[];
  nodes: { frame: number; parent: number | null; value: number; self: number }[];
}

export interface DiffSide {
  name: string;
  total: number;
  lost: number;
  unknown: number;
  missing: number;
  confidence: Level;
}

export interface DiffDocument {
  unit: ProfileUnit;
  factor: number;
  confidence: Level;
  gone_share: number;
  a: DiffSide;
  b: DiffSide;
  frames: ProfileFrame[];
  nodes: { frame: number; parent: number | null; a: number; b: number; self_a: number; self_b: number }[];
}

export interface ProfileEntry {
  id: string;
  kind: ProfileKind;
  scope: string;
  container: string | null;
  started_at_ns: number;
  duration_ns: number;
  sample_count: number;
  confidence: Level;
}

export interface LimitChange {
  at: number;
  container: string;
  name: string;
  metric: string;
  title: string;
  unit: 'seconds' | 'bytes' | 'ratio' | 'count';
  old: number | null;
  new: number | null;
}

/** One of the 16 slowest operations of its kind and second. */
export interface OutlierRow {
  at: number;
  kind: 'block' | 'file';
  operation: string;
  container: string;
  name: string;
  latency_ns: number;
  queue_ns: number | null;
  service_ns: number | null;
  device: string | null;
  sector: number | null;
  file: string | null;
  inode: number | null;
  bytes: number;
  pid: number | null;
  tid: number | null;
  thread: string | null;
  /** A place in `stacks`. */
  stack: number | null;
}

export interface OutlierList {
  at: number;
  span_ns: number;
  total: number;
  outliers: OutlierRow[];
  /** Functions of the kernel, from the call to where the thread slept. */
  stacks: string[][];
  missing: { kind: OutlierRow['kind']; remedy: string }[];
}

export interface SourceReport {
  name: string;
  interval_ns: number;
  priority: number;
  enabled: boolean;
  health: string;
  age_ns: number | null;
  last_error: string | null;
}

export interface ProgramReport {
  name: string;
  family: string;
  attached: string | null;
  error: string | null;
  calls: number | null;
  ns_per_call: number | null;
  recursion_misses: number | null;
}

export interface ProbesReport {
  programs: ProgramReport[];
  drops: { reason: string; count: number; remedy: string }[];
  maps: { name: string; bytes: number | null }[];
  memory: { rss_bytes: number | null; maps_bytes: number | null };
  unwind?: Record<string, number> | null;
  cpu_seconds: number | null;
}

export interface Check {
  name: string;
  status: 'ok' | 'degraded' | 'missing';
  detail: string;
  remedy: string;
  metrics_affected: string[];
}

export interface DoctorReport {
  kernel: string;
  checks: Check[];
}

export interface AuditCheck {
  name: string;
  metric: string;
  against: string;
  is_sampled: boolean;
  counted: number;
  expected: number;
  error_ratio: number;
  subjects: { subject: string; counted: number; expected: number; error: number; span_ns: number }[];
}

export interface AuditReport {
  checks: AuditCheck[];
  spent_ns: number;
  rounds: number;
}
