// Packs what the daemon embeds: each built file gzipped beside itself, and the whole no larger than what was promised.

import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';

/** Of all files together, gzipped: what a first visit loads. */
export const MOST_BYTES = 150 * 1024;

function files(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

export function pack(folder: string): Plugin {
  return {
    name: 'cgscope-pack',
    apply: 'build',
    closeBundle() {
      let sum = 0;
      const lines: string[] = [];
      for (const path of files(folder).filter((path) => !path.endsWith('.gz'))) {
        const packed = gzipSync(readFileSync(path), { level: 9 });
        writeFileSync(`${path}.gz`, packed);
        sum += packed.length;
        lines.push(`  ${relative(folder, path)} ${(packed.length / 1024).toFixed(1)} KiB`);
      }
      console.log(`gzipped:\n${lines.join('\n')}\n  together ${(sum / 1024).toFixed(1)} of ${MOST_BYTES / 1024} KiB`);
      if (sum > MOST_BYTES) throw new Error(`the bundle is ${sum} bytes gzipped, and ${MOST_BYTES} are the most`);
    },
  };
}
