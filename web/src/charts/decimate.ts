// No more points than a screen can show: of each column of pixels the smallest and the largest value, so that no peak is lost. Pure.

export interface Points {
  /** Seconds. */
  times: Float64Array;
  lines: (number | null)[][];
}

/** Points of steps that begin at `startS`. What two points a column can hold is left as it is. */
export function decimated(
  lines: readonly (readonly (number | null)[])[],
  length: number,
  startS: number,
  stepS: number,
  columns: number,
): Points {
  if (length <= columns * 2 || columns < 1) {
    const times = Float64Array.from({ length }, (_, i) => startS + i * stepS);
    return { times, lines: lines as (number | null)[][] };
  }
  const times = new Float64Array(columns * 2);
  for (let column = 0; column < columns; column += 1) {
    const from = Math.floor((column * length) / columns);
    const to = Math.floor(((column + 1) * length) / columns);
    times[column * 2] = startS + from * stepS;
    times[column * 2 + 1] = startS + ((from + to) / 2) * stepS;
  }
  return { times, lines: lines.map((values) => ends(values, length, columns)) };
}

/** Of each column the smallest and the largest, in the order in which they come. */
function ends(values: readonly (number | null)[], length: number, columns: number): (number | null)[] {
  const result: (number | null)[] = [];
  let i = 0;
  for (let column = 1; column <= columns; column += 1) {
    const to = Math.floor((column * length) / columns);
    let first: number | null = null;
    let second: number | null = null;
    for (; i < to; i += 1) {
      const value = values[i]!;
      if (value === null) continue;
      if (first === null || second === null) first = second = value;
      else if (first <= second) {
        // The smaller came first: what is smaller still comes after the larger.
        if (value > second) second = value;
        else if (value < first) [first, second] = [second, value];
      } else if (value < second) second = value;
      else if (value > first) [first, second] = [second, value];
    }
    result.push(first, second);
  }
  return result;
}
