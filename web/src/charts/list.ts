// What a page says of each of its charts; `ChartList` draws them.

import type { Style } from './data';

interface Card {
  title: string;
  help?: string;
  metric: string;
  /** Conditions beside those of the list. */
  match?: string;
  /** What to say when nothing was measured. */
  none?: string;
}

/** Lines or a stack; the members are those of `MetricChart`. */
export interface LineChart extends Card {
  style: Style;
  by?: string;
  q?: number;
  isStack?: boolean;
  most?: number;
  height?: number;
  /** Whether it is held against the other container, where one is chosen. */
  isCompared?: boolean;
}

/** A distribution as a heat map. */
export interface HeatChart extends Card {
  isHeat: true;
  /** The flame graph behind a bucket. */
  type?: 'cpu' | 'offcpu';
}

export type Chart = LineChart | HeatChart;

/** The condition of another container that charts are held against, where one is chosen. */
export type Other = { againstMatch?: string };
