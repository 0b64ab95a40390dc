import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { pack } from './build/pack.ts';

const built = fileURLToPath(new URL('../target/web', import.meta.url));
/** Where `npx vite` finds the API while one works on the dashboard. */
const daemon = process.env['CGSCOPE_URL'] ?? 'http://127.0.0.1:7070';

export default defineConfig({
  // Relative, so that it works behind a proxy that puts a path in front.
  base: './',
  plugins: [svelte(), pack(built)],
  build: {
    outDir: built,
    emptyOutDir: true,
    // The policy allows no data: scripts, and every browser that runs this preloads by itself.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: { proxy: { '/api': daemon, '/metrics': daemon } },
});
