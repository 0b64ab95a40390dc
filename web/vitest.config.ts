import { defineConfig } from 'vitest/config';

// Pure logic only: no DOM, no component.
export default defineConfig({ test: { include: ['test/**/*.test.ts'], environment: 'node' } });
