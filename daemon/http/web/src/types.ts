// SPDX-License-Identifier: Apache-2.0
// What shadowd sends: daemon/http/state_json.cc. Bytes, milliseconds since the epoch, microseconds.

export type Level = 'ok' | 'busy' | 'warning' | 'error';

export interface Tier {
  level: string;
  state: string;
  health: string;
  class: string;
  device: string;
  size: number;
  used: number;
  dirty: number;
  write_back: boolean;
  reads: number;
  writes: number;
}

export interface Volume {
  name: string;
  device: string;
  size: number;
  block: number;
  blocks: number;
  origin: string;
  class: string;
  target: string;
  modification: string;
  mode: string;
  hole_blocks: number;
  copy_limit: number;
  health: { level: Level; sentence: string };
  io: {
    known: boolean;
    reads: number;
    writes: number;
    bytes: number;
    p50: number;
    p99: number;
    usual_p99: number;
  };
  tiers: Tier[];
  notes: string[];
  ruling: string;
}

export interface Modification {
  id: string;
  volume: string;
  phase: string;
  final: boolean;
  from: string;
  to: string;
  old_size: number;
  new_size: number;
  reversible: boolean;
  holes: number;
  expected_pause: number;
  warnings: string[];
  impact: 'low' | 'balanced' | 'full';
  fixed_rate: number;
  error: string;
  left_out: string[];
  limited_by_latency: boolean;
  total: number;
  done: number;
  copied: number;
  rate: number;
  eta: number;
  p50: number;
  p99: number;
  before_p50: number;
  before_p99: number;
  mirrored_writes: number;
  pause: number;
  started: number;
  finished: number;
  grace_ends: number;
  history: { at: number; phase: string; note: string }[];
}

export interface Event {
  seq: number;
  at: number;
  volume: string;
  modification: string;
  severity: string;
  what: string;
  message: string;
}

export interface State {
  number: number;
  host: string;
  version: string;
  at: number;
  error: string;
  health: { level: Level; sentence: string };
  todos: { level: Level; volume: string; sentence: string; command: string; hint: string }[];
  volumes: Volume[];
  modifications: Modification[];
  classes: { name: string; size: number; free: number }[];
  events: Event[];
}

export interface Course {
  step: number;
  at: number[];
  rate: number[];
  limit: number[];
  p50: number[];
  p99: number[];
}

/** A cell is the number of the state that all its blocks are in, or how many are in each state. */
export interface BlockMap {
  states: string[];
  blocks: number;
  block: number;
  first: number;
  count: number;
  cells: (number | number[])[];
}
