// SPDX-License-Identifier: Apache-2.0
// Small parts that several pages use.
import { useState } from 'preact/hooks';
import * as f from './format';
import type { Event, Level } from './types';

const marks: Record<Level, [string, string]> = {
  ok: ['✓', 'well'],
  busy: ['↻', 'busy'],
  warning: ['!', 'warning'],
  error: ['✕', 'error'],
};

/** Colour and sign, and a word for who sees neither. */
export function Mark({ level }: { level: Level }) {
  const [sign, word] = marks[level];
  return (
    <span class={`mark ${level}`} role="img" aria-label={word}>
      {sign}
    </span>
  );
}

export function Bar(props: { label: string; done: number; total: number; text?: string }) {
  const percent = f.percent(props.done, props.total);
  return (
    <div
      class="bar"
      role="progressbar"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      aria-valuetext={props.text ?? `${percent} %`}
    >
      <div style={{ width: `${percent}%` }} />
    </div>
  );
}

export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    // Without a secure context there is no clipboard: the text can be selected.
    navigator.clipboard?.writeText(text).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    });
  };
  return (
    <span class="command">
      <code>{text}</code>
      {navigator.clipboard && (
        <button type="button" class="quiet" onClick={copy} aria-label={`Copy: ${text}`}>
          {copied ? 'Copied' : 'Copy'}
        </button>
      )}
    </span>
  );
}

export function Events({ events }: { events: Event[] }) {
  if (events.length === 0) return <p class="muted">Nothing has happened yet.</p>;
  return (
    <ol class="events">
      {events
        .slice(-12)
        .reverse()
        .map((e) => (
          <li key={e.seq}>
            <time dateTime={new Date(e.at).toISOString()}>{f.time(e.at)}</time>
            <Mark level={e.severity === 'info' ? 'ok' : (e.severity as Level)} />
            <span>
              {e.volume && <strong>{e.volume} </strong>}
              {e.message}
            </span>
          </li>
        ))}
    </ol>
  );
}
