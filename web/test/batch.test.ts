import { afterEach, describe, expect, it, vi } from 'vitest';
import { batches, batchUrl, getTogether, isBatched } from '../src/api/batch';
import { url } from '../src/api/client';

const question = (metric: string, match = 'container_id=a&b') => url('query', { metric, match });

/** The daemon: says what it was asked, and that `nosuch` is not known. */
function daemon(): string[] {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (path: string, { signal }: { signal: AbortSignal }) => {
    asked.push(path);
    await Promise.resolve();
    signal.throwIfAborted();
    const questions = new URL(path, 'http://host').searchParams.getAll('ask');
    const answers = questions.map((ask) => {
      const metric = new URL(ask, 'http://host').searchParams.get('metric');
      return metric === 'nosuch'
        ? { status: 404, body: { error: 'no such metric', remedy: 'ask for another', kind: 'not_found' } }
        : { status: 200, body: metric };
    });
    return Response.json(path.includes('/batch?') ? { answers } : 'alone');
  });
  return asked;
}

const never = new AbortController().signal;

afterEach(() => vi.unstubAllGlobals());

describe('questions that come up together', () => {
  it('go in one request, and each has its own answer', async () => {
    const asked = daemon();
    const answers = await Promise.all(['a', 'nosuch', 'b'].map((metric) => getTogether(question(metric), never)));
    expect(asked).toEqual([batchUrl(['a', 'nosuch', 'b'].map((metric) => question(metric)))]);
    expect(answers.map((answer) => answer?.ok && answer.value)).toEqual(['a', false, 'b']);
    expect(answers[1]).toEqual({
      ok: false,
      failure: { kind: 'not_found', error: 'no such metric', remedy: 'ask for another' },
    });
  });

  it('are asked as ever when they are alone', async () => {
    const asked = daemon();
    const answer = await getTogether(question('a'), never);
    expect(asked).toEqual([question('a')]);
    expect(answer?.ok && answer.value).toBe('alone');
  });

  it('are not asked, or forgotten, when nobody waits for them', async () => {
    const asked = daemon();
    const [early, late] = [new AbortController(), new AbortController()];
    const answers = [
      getTogether(question('a'), early.signal),
      getTogether(question('b'), late.signal),
      getTogether(question('c'), never),
    ];
    early.abort();
    await Promise.resolve();
    late.abort();
    expect(await Promise.all(answers.slice(0, 2))).toEqual([null, null]);
    expect(await answers[2]).toMatchObject({ ok: true, value: 'c' });
    expect(asked).toEqual([batchUrl([question('b'), question('c')])]);
  });

  it('are given up with the last who waits', async () => {
    daemon();
    const [a, b] = [new AbortController(), new AbortController()];
    const answers = [getTogether(question('a'), a.signal), getTogether(question('b'), b.signal)];
    await Promise.resolve();
    a.abort();
    b.abort();
    expect(await Promise.all(answers)).toEqual([null, null]);
  });

  it('all fail when nobody answers', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('refused')));
    const answers = await Promise.all([getTogether(question('a'), never), getTogether(question('b'), never)]);
    for (const answer of answers) expect(answer).toMatchObject({ ok: false, failure: { kind: 'disconnected' } });
  });

  it('are few enough and short enough for whoever is in between', () => {
    const many = Array.from({ length: 40 }, (_, i) => question(`metric_${i}`));
    expect(batches(many).map(({ length }) => length)).toEqual([16, 16, 8]);
    const long = Array.from({ length: 8 }, (_, i) => question(`metric_${i}`, 'x'.repeat(1_500)));
    const parts = batches(long);
    expect(parts.flat()).toEqual(long);
    for (const part of parts) expect(batchUrl(part).length).toBeLessThan(6_100);
    expect(batches([])).toEqual([]);
  });

  it('are those about the past', () => {
    expect(isBatched(question('a'))).toBe(true);
    expect(isBatched(url('buckets', { metric: 'a' }))).toBe(true);
    expect(isBatched(url('probes'))).toBe(false);
  });
});
