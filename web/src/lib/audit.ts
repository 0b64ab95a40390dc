// What the daemon's audit says, for people. Pure.

import type { AuditCheck } from '../api/types';
import { bytes, count, time } from './format';

/** Above this an error is a fault worth a word, as in the daemon. */
const TOLERANCE = 0.01;

/** A sum of a check, in the unit of the metric that is checked. */
export function auditValue(value: number, metric: string): string {
  if (metric.includes('_seconds')) return time(value * 1e9);
  return metric.includes('_bytes') ? bytes(value) : count(value);
}

/** What the kernel samples is off by itself: that is no fault. */
export function isOff(check: Pick<AuditCheck, 'error_ratio' | 'is_sampled'>): boolean {
  return !check.is_sampled && check.error_ratio > TOLERANCE;
}
