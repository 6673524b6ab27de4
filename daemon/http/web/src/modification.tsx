// SPDX-License-Identifier: Apache-2.0
// Modification: where is it, and does it hurt?
import { useEffect, useState } from 'preact/hooks';
import { Actions } from './actions';
import { Map } from './blockmap';
import { Chart } from './chart';
import * as f from './format';
import { goal } from './overview';
import { Bar, Events } from './parts';
import type { Course, Modification, State, Volume } from './types';

const way = ['PLANNED', 'PREPARING', 'COPYING', 'CUTTING_OVER', 'GRACE', 'DECOMMISSIONING', 'COMPLETED'];
const turned = ['ABORTING', 'ROLLING_BACK', 'ABORTED', 'FAILED'];

function Phases({ m }: { m: Modification }) {
  const been = new Set(m.history.map((h) => h.phase));
  const now = m.phase === 'PAUSED' || m.phase === 'CATCHING_UP' ? 'COPYING' : m.phase;
  const back = turned.includes(m.phase);
  const steps = back
    ? [...way.filter((p) => been.has(p)), ...turned.filter((p) => been.has(p) || p === m.phase)]
    : way;
  const at = steps.indexOf(now);
  const when = (p: string) => m.history.findLast((h) => h.phase === p)?.at;
  return (
    <ol class="phases" aria-label="Phases">
      {steps.map((p, i) => (
        <li
          key={p}
          class={i < at || (i === at && m.final) ? 'done' : i === at ? 'now' : ''}
          {...(i === at ? { 'aria-current': 'step' as const } : {})}
        >
          <span>{p === now ? f.phase(m.phase) : f.phase(p)}</span>
          {when(p) !== undefined && <small>{f.time(when(p) ?? 0)}</small>}
        </li>
      ))}
    </ol>
  );
}

/** One sentence of where it is. */
function standing(m: Modification): string {
  switch (m.phase) {
    case 'COPYING':
    case 'CATCHING_UP':
      return m.eta >= 0
        ? `${f.duration(m.eta)} to go; ${m.volume} is in use as ever.`
        : `${m.volume} is in use as ever.`;
    case 'PAUSED':
      return 'Paused: nothing is copied until it is resumed. The volume is in use as ever.';
    case 'GRACE':
      return `Moved. Both devices are kept current, so it can go back until ${f.time(m.grace_ends)}.`;
    case 'ABORTING':
    case 'ROLLING_BACK':
      return `Going back to ${m.from}; nothing is lost.`;
    case 'COMPLETED':
      return `Done, in ${f.duration(m.finished - m.started)}.`;
    case 'ABORTED':
      return `${m.volume} is back on ${m.from}, with all its data.`;
    case 'FAILED':
      return `It failed; ${m.volume} is intact on ${m.from}.`;
    default:
      return 'It has begun.';
  }
}

/** What keeps the copy from being faster, in words. */
function limitedBy(m: Modification, v: Volume | undefined): string {
  if (!['COPYING', 'CATCHING_UP', 'ABORTING', 'ROLLING_BACK'].includes(m.phase)) {
    return 'Nothing is being copied now.';
  }
  const limit = v?.copy_limit ?? 0;
  if (m.fixed_rate > 0) return `It is held at the ${f.rate(m.fixed_rate)} that were asked for.`;
  if (m.limited_by_latency) {
    return `It gives way to the application, whose latency is above what “${m.impact}” allows.`;
  }
  if (limit === 0) return 'Nothing limits it but the devices.';
  if (m.rate > 0 && m.rate < limit * 0.8) return 'The devices are what limits it.';
  return `“${m.impact}” lets it use that much beside the application.`;
}

function impactSentence(m: Modification): string {
  if (m.p99 === 0) return 'The application does no I/O now.';
  if (m.before_p99 === 0) return `p99 is ${f.latency(m.p99)}; there was no I/O before to compare with.`;
  const times = m.p99 / m.before_p99;
  const now = `p99 is ${f.latency(m.p99)}; before it was ${f.latency(m.before_p99)}`;
  if (times < 1.25) return `${now}: the application does not feel it.`;
  return `${now}, so ${times.toFixed(1)} times as long.`;
}

function useCourse(id: string, number: number): Course | null {
  const [course, setCourse] = useState<Course | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    fetch(`api/course?id=${encodeURIComponent(id)}`, { signal: stop.signal })
      .then(async (r) => setCourse((await r.json()) as Course))
      .catch(() => {});
    return () => stop.abort();
  }, [id, Math.floor(number / 2)]);
  return course;
}

export function ModificationPage({ s, id }: { s: State; id: string }) {
  const m = s.modifications.find((one) => one.id === id);
  const course = useCourse(id, m && !m.final ? s.number : 0);
  if (!m) {
    return (
      <section class="card">
        <h1>There is no such modification here</h1>
        <p>
          Only the newest are shown. <code>shadowctl op list</code> knows all. <a href="#/">Overview</a>
        </p>
      </section>
    );
  }
  const v = s.volumes.find((one) => one.name === m.volume);
  const until = m.final ? m.finished : Number.POSITIVE_INFINITY;
  const events = s.events.filter(
    (e) =>
      e.modification === id ||
      (e.modification === '' && e.volume === m.volume && e.at >= m.started && e.at <= until),
  );
  const percent = f.percent(m.done, m.total);
  const some = course && course.at.length > 1;
  return (
    <>
      <section class="card">
        <h1>
          {m.volume} {goal(m)}
        </h1>
        <p>{standing(m)}</p>
        {m.error && (
          <p class="problem" role="alert">
            {m.error}
          </p>
        )}
        {m.left_out.map((l) => (
          <p class="problem" key={l}>
            {l}
          </p>
        ))}
        <Phases m={m} />
        <Bar label="Progress" done={m.done} total={m.total} />
        <dl class="facts">
          <div>
            <dt>Copied</dt>
            <dd>
              {percent} % <span class="muted">{`${f.size(m.done)} of ${f.size(m.total)}`}</span>
            </dd>
          </div>
          <div>
            <dt>Rate</dt>
            <dd>{f.rate(m.rate)}</dd>
          </div>
          <div>
            <dt>Latency, p99</dt>
            <dd>
              {f.latency(m.p99)}{' '}
              {m.before_p99 > 0 && <span class="muted">{`before ${f.latency(m.before_p99)}`}</span>}
            </dd>
          </div>
          <div>
            <dt>Pause of I/O</dt>
            <dd>
              {m.pause > 0 ? f.latency(m.pause) : 'none yet'}{' '}
              {m.pause === 0 && m.expected_pause > 0 && (
                <span class="muted">{`expected ${f.latency(m.expected_pause)}`}</span>
              )}
            </dd>
          </div>
          <div>
            <dt>Way back</dt>
            <dd>{m.final ? 'closed' : m.reversible ? 'open' : 'closed by the growth'}</dd>
          </div>
          <div>
            <dt>Writes to both</dt>
            <dd>{f.count(m.mirrored_writes)}</dd>
          </div>
        </dl>
        <Actions m={m} />
      </section>

      {some && (
        <div class="pair">
          <Chart
            title="How fast it is copied"
            says={`${f.rate(m.rate)}. ${limitedBy(m, v)}`}
            course={course}
            format={f.rate}
            binary
            lines={[
              { label: 'rate', color: '--accent', values: course.rate },
              {
                label: 'limit',
                color: '--muted',
                dash: [6, 4],
                values: course.limit.map((l) => (l > 0 ? l : null)),
              },
            ]}
          />
          <Chart
            title="What the application feels"
            says={impactSentence(m)}
            course={course}
            format={f.latency}
            band={{ low: m.before_p50, high: m.before_p99 }}
            lines={[
              { label: 'p99', color: '--accent', values: course.p99.map((x) => x || null) },
              { label: 'p50', color: '--second', values: course.p50.map((x) => x || null) },
            ]}
          />
        </div>
      )}

      {v?.mode && <Map volume={m.volume} running={!m.final} />}

      <section class="card">
        <h2>What happened</h2>
        <Events events={events} />
      </section>
    </>
  );
}
