// SPDX-License-Identifier: Apache-2.0
// The stream of pictures: one connection, made again by itself, and how old what is shown is.
import { computed, signal } from '@preact/signals';
import type { State } from './types';

export const state = signal<State | null>(null);
/** Whether the connection stands. */
export const connected = signal(false);
const now = signal(Date.now());
/** By this page's own clock, so that the daemon's need not agree with it. */
const heard = signal(0);

const staleMs = 5000;
/** Why what is shown may not be so any more; '' when it is new. */
export const stale = computed(() => {
  if (!state.value) return connected.value ? '' : 'Waiting for shadowd.';
  const age = now.value - heard.value;
  if (state.value.error) return `shadowd cannot look: ${state.value.error}`;
  if (age < staleMs) return '';
  const since = `${Math.round(age / 1000)} s old`;
  return connected.value
    ? `shadowd is there, but waits for something itself. What you see is ${since}.`
    : `No connection to shadowd. What you see is ${since}; volumes go on working without it.`;
});

let source: EventSource | null = null;

function connect(): void {
  source = new EventSource('api/stream');
  source.onopen = () => {
    connected.value = true;
  };
  source.onmessage = (message: MessageEvent<string>) => {
    connected.value = true;
    state.value = JSON.parse(message.data) as State;
    heard.value = Date.now();
  };
  source.onerror = () => {
    connected.value = false;
    // The browser tries again by itself, but not after an answer that is no stream.
    if (source?.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

export function start(): void {
  connect();
  setInterval(() => {
    now.value = Date.now();
  }, 1000);
}

/** The page: '' or 'modification/ID'. */
export const route = signal(location.hash.replace(/^#\/?/, ''));
addEventListener('hashchange', () => {
  route.value = location.hash.replace(/^#\/?/, '');
  document.getElementById('main')?.focus();
});
