// The last values of a number, for sparklines. Older values go as newer come.

export class Ring {
  readonly values: (number | null)[] = [];

  constructor(readonly capacity: number) {}

  push(value: number | null | undefined): void {
    this.values.push(value ?? null);
    if (this.values.length > this.capacity) this.values.splice(0, this.values.length - this.capacity);
  }

  /** Puts older values in front of those that came since. */
  fill(older: readonly (number | null)[]): void {
    const room = this.capacity - this.values.length;
    if (room > 0) this.values.unshift(...older.slice(-room));
  }
}

export interface SparkPaths {
  /** The line; a gap where nothing is known, a dot for a value that stands alone. */
  line: string;
  /** What is under it. */
  area: string;
}

/** Through the values, the newest at the right. The baseline is 0, the top the largest of them. */
export function sparkPaths(
  values: readonly (number | null)[],
  capacity: number,
  width: number,
  height: number,
): SparkPaths {
  let most = 0;
  for (const value of values) if (value !== null && value > most) most = value;
  const step = width / Math.max(1, capacity - 1);
  const left = width - (values.length - 1) * step;
  const x = (i: number) => (left + i * step).toFixed(1);
  const y = (value: number) => (most > 0 ? height - 1 - (value / most) * (height - 3) : height - 1).toFixed(1);
  let [line, area] = ['', ''];
  for (let i = 0; i < values.length; i += 1) {
    if (values[i] === null) continue;
    const from = i;
    let points = `${x(i)} ${y(values[i]!)}`;
    while (i + 1 < values.length && values[i + 1] !== null) points += `L${x(++i)} ${y(values[i]!)}`;
    line += `M${points}${i === from ? 'h0' : ''}`;
    if (i > from) area += `M${x(from)} ${height}L${points}L${x(i)} ${height}Z`;
  }
  return { line, area };
}
