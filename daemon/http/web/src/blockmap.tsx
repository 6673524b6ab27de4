// SPDX-License-Identifier: Apache-2.0
// The block map as a picture: each cell stands for a part of the volume, from thousands of blocks
// down to one. The daemon counts, this draws. Pointing at a cell, or going there with the arrow keys,
// says what it holds; a click or Enter looks closer.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import * as f from './format';
import { state } from './state';
import type { BlockMap } from './types';

// How the kernel's states are shown: several have one meaning for who looks.
const shown = [
  { name: 'home', states: ['origin'], color: '--map-home', tells: 'on the origin only' },
  {
    name: 'copying',
    states: ['copying', 'remirroring', 'filling'],
    color: '--map-copying',
    tells: 'being copied',
  },
  { name: 'mirrored', states: ['mirrored'], color: '--map-mirrored', tells: 'on both' },
  { name: 'retired', states: ['target', 'retiring'], color: '--map-target', tells: 'on the target only' },
  { name: 'hole', states: ['hole'], color: '--map-hole', tells: 'empty, never copied' },
] as const;

interface View {
  first: number;
  count: number; // 0: all
}

const columns = 64;
const cellCount = 1024;

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Share of each shown state in a cell, in its order.
function shares(map: BlockMap, cell: number | number[]): number[] {
  const of = (state: string): number => {
    const i = map.states.indexOf(state);
    return typeof cell === 'number' ? (cell === i ? 1 : 0) : (cell[i] ?? 0);
  };
  const sums = shown.map((s) => s.states.reduce((sum, one) => sum + of(one), 0));
  const all = sums.reduce((a, b) => a + b, 0) || 1;
  return sums.map((n) => n / all);
}

function describe(map: BlockMap, i: number): string {
  const n = map.cells.length;
  const from = map.first + Math.floor((i * map.count) / n);
  const to = map.first + Math.floor(((i + 1) * map.count) / n);
  const part = shares(map, map.cells[i] ?? 0);
  const what = shown
    .map((s, k) => ({ s, share: part[k] ?? 0 }))
    .filter((x) => x.share > 0)
    .map(({ s, share }) =>
      share === 1 ? s.tells : `${share < 0.01 ? 'under 1' : Math.round(share * 100)} % ${s.tells}`,
    )
    .join(', ');
  const blocks = to - from === 1 ? `Block ${f.count(from)}` : `Blocks ${f.count(from)} to ${f.count(to - 1)}`;
  return `${blocks}, from ${f.size(from * map.block)} on: ${what}.`;
}

function draw(canvas: HTMLCanvasElement, map: BlockMap, at: number): void {
  const rows = Math.max(1, Math.ceil(map.cells.length / columns));
  const ratio = devicePixelRatio || 1;
  const step = canvas.clientWidth / columns;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(rows * step * ratio);
  canvas.style.height = `${rows * step}px`;
  const c = canvas.getContext('2d');
  if (!c) return;
  c.scale(ratio, ratio);
  const colors = shown.map((s) => css(s.color));
  const gap = step > 6 ? 1 : 0;
  map.cells.forEach((cell, i) => {
    const x = (i % columns) * step;
    const y = Math.floor(i / columns) * step;
    // A cell of several states is filled from below like a glass, in their order.
    let bottom = y + step - gap;
    shares(map, cell).forEach((share, k) => {
      if (share === 0) return;
      const height = share * (step - gap);
      c.fillStyle = colors[k] ?? '';
      c.fillRect(x, bottom - height, step - gap, height);
      bottom -= height;
    });
  });
  if (at >= 0 && at < map.cells.length) {
    c.strokeStyle = css('--text');
    c.lineWidth = 2;
    c.strokeRect((at % columns) * step, Math.floor(at / columns) * step, step - gap, step - gap);
  }
}

export function Map({ volume, running }: { volume: string; running: boolean }) {
  const [views, setViews] = useState<View[]>([{ first: 0, count: 0 }]);
  const [map, setMap] = useState<BlockMap | null>(null);
  const [error, setError] = useState('');
  const [at, setAt] = useState(-1);
  const canvas = useRef<HTMLCanvasElement>(null);
  const view = views[views.length - 1] ?? { first: 0, count: 0 };
  const number = state.value?.number ?? 0;
  // Every other picture while something moves; the daemon answers all who look with one map.
  const turn = running ? Math.floor(number / 2) : 0;

  useEffect(() => {
    const stop = new AbortController();
    const ask = new URLSearchParams({
      volume,
      first: String(view.first),
      count: String(view.count),
      cells: String(cellCount),
    });
    fetch(`api/map?${ask}`, { signal: stop.signal })
      .then(async (r) => {
        const answer = (await r.json()) as BlockMap & { error?: string };
        if (!r.ok) throw new Error(answer.error);
        setMap(answer);
        setError('');
      })
      .catch((e: Error) => {
        if (e.name !== 'AbortError') setError(e.message);
      });
    return () => stop.abort();
  }, [volume, view.first, view.count, turn]);

  useEffect(() => {
    const element = canvas.current;
    if (!element || !map) return undefined;
    const again = () => draw(element, map, at);
    again();
    const resized = new ResizeObserver(again);
    resized.observe(element);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', again);
    return () => {
      resized.disconnect();
      dark.removeEventListener('change', again);
    };
  }, [map, at]);

  const sums = useMemo(() => {
    if (!map) return [];
    const all = shown.map(() => 0);
    for (const cell of map.cells) shares(map, cell).forEach((s, k) => (all[k] = (all[k] ?? 0) + s));
    return all.map((n) => n / map.cells.length);
  }, [map]);

  const closer = (i: number) => {
    if (!map || i < 0 || map.count <= cellCount) return;
    // A sixteenth of what is seen now, around that cell.
    const count = Math.max(cellCount, Math.ceil(map.count / 16));
    const middle = map.first + Math.floor(((i + 0.5) * map.count) / map.cells.length);
    const first = Math.min(Math.max(0, middle - Math.floor(count / 2)), map.blocks - count);
    setViews([...views, { first: Math.max(0, first), count: Math.min(count, map.blocks) }]);
    setAt(-1);
  };
  const cellAt = (event: MouseEvent): number => {
    const element = canvas.current;
    if (!element || !map) return -1;
    const step = element.clientWidth / columns;
    const i = Math.floor(event.offsetY / step) * columns + Math.floor(event.offsetX / step);
    return i >= 0 && i < map.cells.length ? i : -1;
  };
  const key = (event: KeyboardEvent) => {
    if (!map) return;
    const moves: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
    };
    const move = moves[event.key];
    if (move !== undefined) {
      const to = at < 0 ? 0 : at + move;
      if (to >= 0 && to < map.cells.length) setAt(to);
    } else if (event.key === 'Enter' || event.key === '+') {
      closer(at);
    } else if ((event.key === 'Escape' || event.key === '-') && views.length > 1) {
      setViews(views.slice(0, -1));
      setAt(-1);
    } else {
      return;
    }
    event.preventDefault();
  };
  const each = map ? Math.max(1, Math.round(map.count / map.cells.length)) : 0;
  const what = map
    ? `${views.length > 1 ? `Blocks ${f.count(map.first)} to ${f.count(map.first + map.count - 1)}` : 'The whole volume'}; ` +
      `each square is ${each === 1 ? 'one block' : `${f.count(each)} blocks`} (${f.size(each * map.block)}).`
    : 'Reading the map.';
  const summary = shown
    .map((s, k) => `${Math.round((sums[k] ?? 0) * 100)} % ${s.tells}`)
    .filter((s) => !s.startsWith('0 %'))
    .join(', ');

  return (
    <section class="card">
      <h2>Where the blocks are</h2>
      <p>{error ? `The map cannot be read: ${error}` : what}</p>
      <div class="buttons">
        <button
          type="button"
          disabled={!map || map.count <= cellCount}
          onClick={() => closer(at < 0 && map ? Math.floor(map.cells.length / 2) : at)}
        >
          Closer
        </button>
        <button type="button" disabled={views.length < 2} onClick={() => setViews(views.slice(0, -1))}>
          Back
        </button>
        <button
          type="button"
          disabled={views.length < 2}
          onClick={() => setViews([{ first: 0, count: 0 }])}
        >
          Whole volume
        </button>
      </div>
      <canvas
        ref={canvas}
        class="map"
        tabIndex={0}
        role="img"
        aria-label={`Block map of ${volume}. ${what} ${summary}. Arrow keys choose a square, Enter looks closer, Escape goes back.`}
        onMouseMove={(e) => setAt(cellAt(e))}
        onMouseLeave={() => setAt(-1)}
        onClick={(e) => closer(cellAt(e))}
        onKeyDown={key}
      />
      <p class="cell" aria-live="polite">
        {map && at >= 0 ? describe(map, at) : 'Point at a square to see what it holds; click to look closer.'}
      </p>
      <ul class="legend">
        {shown.map((s, k) => (
          <li key={s.name}>
            <span class={`swatch ${s.name}`} aria-hidden="true" />
            <strong>{s.name}</strong> {s.tells} · {Math.round((sums[k] ?? 0) * 100)} %
          </li>
        ))}
      </ul>
    </section>
  );
}
