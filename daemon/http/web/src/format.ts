// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them; the same units as shadowctl.

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

export function size(bytes: number): string {
  let i = 0;
  let n = bytes;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i === 0 || n >= 100 || Number.isInteger(n) ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export const rate = (bytes: number): string => `${size(bytes)}/s`;

export function latency(us: number): string {
  if (us === 0) return '–';
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${Math.round(us / 1000)} ms`;
  return `${(us / 1e6).toFixed(1)} s`;
}

export function count(n: number): string {
  return Math.round(n).toLocaleString('en');
}

export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 && m < 10 ? `${m} min ${s % 60} s` : `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  return `${Math.floor(h / 24)} days`;
}

export function time(ms: number): string {
  const at = new Date(ms);
  const clock = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  return at.toDateString() === new Date().toDateString()
    ? clock
    : `${at.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${clock}`;
}

export function percent(done: number, total: number): number {
  return total > 0 ? Math.min(100, Math.floor((done / total) * 100)) : 0;
}

const phases: Record<string, string> = {
  PLANNED: 'Planned',
  PREPARING: 'Preparing',
  COPYING: 'Copying',
  PAUSED: 'Paused',
  CATCHING_UP: 'Catching up',
  CUTTING_OVER: 'Cutting over',
  GRACE: 'Grace period',
  DECOMMISSIONING: 'Detaching the origin',
  COMPLETED: 'Completed',
  ABORTING: 'Going back',
  ROLLING_BACK: 'Rolling back',
  ABORTED: 'Aborted',
  FAILED: 'Failed',
};
export const phase = (name: string): string => phases[name] ?? name;
