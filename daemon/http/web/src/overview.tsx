// SPDX-License-Identifier: Apache-2.0
// Overview: is all well, and if not, what is to be done?
import * as f from './format';
import { Bar, Command, Events, Mark } from './parts';
import type { Modification, State, Tier, Volume } from './types';

function Going({ m }: { m: Modification }) {
  const percent = f.percent(m.done, m.total);
  const text =
    m.phase === 'GRACE'
      ? `can go back until ${f.time(m.grace_ends)}`
      : `${percent} %, ${f.size(m.done)} of ${f.size(m.total)}`;
  return (
    <li class="going">
      <div class="row">
        <a href={`#/modification/${m.id}`}>
          <strong>{m.volume}</strong> {goal(m)}
        </a>
        <span class="phase">{f.phase(m.phase)}</span>
      </div>
      <Bar label={`Progress of ${m.volume}`} done={m.done} total={m.total} text={text} />
      <div class="row muted">
        <span>{text}</span>
        <span>
          {m.rate > 0 && f.rate(m.rate)}
          {m.eta >= 0 && m.phase !== 'GRACE' && ` · ${f.duration(m.eta)} to go`}
        </span>
      </div>
    </li>
  );
}

export function goal(m: Modification): string {
  const parts = [];
  if (m.from !== m.to) parts.push(`moves from ${m.from} to ${m.to}`);
  if (m.new_size > m.old_size) parts.push(`grows from ${f.size(m.old_size)} to ${f.size(m.new_size)}`);
  if (m.new_size < m.old_size) parts.push(`shrinks from ${f.size(m.old_size)} to ${f.size(m.new_size)}`);
  return parts.join(' and ') || 'stays as it is';
}

/** The application's p99 against its own usual, in words. */
function Latency({ v }: { v: Volume }) {
  if (!v.io.known) return <span class="muted">not measured yet</span>;
  if (v.io.p99 === 0) return <span class="muted">no I/O</span>;
  const more = v.io.usual_p99 > 0 ? v.io.p99 / v.io.usual_p99 : 1;
  return (
    <span>
      {f.latency(v.io.p99)}
      <span class={more > 2 ? 'worse' : 'muted'}>
        {v.io.usual_p99 > 0
          ? ` ${more > 1.25 ? `${more.toFixed(1)} × ` : ''}usual ${f.latency(v.io.usual_p99)}`
          : ' usual not known yet'}
      </span>
    </span>
  );
}

function TierBar({ v, t }: { v: Volume; t: Tier }) {
  const dirty = t.dirty > 0 ? `, ${f.size(t.dirty)} only there` : '';
  const text = `${f.size(t.used)} of ${f.size(t.size)} used${dirty}`;
  return (
    <div class="tier">
      <span>
        <strong>{t.level}</strong> {t.class || t.device}
        {t.health !== 'ok' && t.health !== '' && <span class="worse"> {t.health}</span>}
        {t.state !== 'active' && <span class="muted"> {t.state}</span>}
      </span>
      <Bar label={`${t.level} of ${v.name}`} done={t.used} total={t.size} text={text} />
      <span class="muted">{text}</span>
    </div>
  );
}

export function Overview({ s }: { s: State }) {
  const running = s.modifications.filter((m) => !m.final);
  const over = s.modifications.filter((m) => m.final).slice(0, 5);
  const tiered = s.volumes.filter((v) => v.tiers.length > 0);
  return (
    <>
      <section class={`card health ${s.health.level}`}>
        <Mark level={s.health.level} />
        <h1>{s.health.sentence}</h1>
      </section>

      {s.todos.length > 0 && (
        <section class="card">
          <h2>To do</h2>
          <ul class="todos">
            {s.todos.map((t) => (
              <li key={t.sentence}>
                <Mark level={t.level} />
                <div>
                  <p>{t.sentence}</p>
                  {t.command && <Command text={t.command} />}
                  {t.hint && <p class="muted">{t.hint}</p>}
                </div>
              </li>
            ))}
          </ul>
        </section>
      )}

      {running.length > 0 && (
        <section class="card">
          <h2>Under way</h2>
          <ul class="plain">
            {running.map((m) => (
              <Going key={m.id} m={m} />
            ))}
          </ul>
        </section>
      )}

      <section class="card">
        <h2>Volumes</h2>
        {s.volumes.length === 0 ? (
          <p>
            Make one of a device that has data: <code>shadowctl volume import NAME DEVICE</code>
          </p>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">Volume</th>
                <th scope="col">Health</th>
                <th scope="col">Size</th>
                <th scope="col">Lies on</th>
                <th scope="col">I/O</th>
                <th scope="col">Latency, p99</th>
              </tr>
            </thead>
            <tbody>
              {s.volumes.map((v) => (
                <tr key={v.name}>
                  <th scope="row">{v.name}</th>
                  <td data-label="Health">
                    <Mark level={v.health.level} /> {v.health.sentence}
                  </td>
                  <td data-label="Size">{f.size(v.size)}</td>
                  <td data-label="Lies on">{v.class || v.origin}</td>
                  <td data-label="I/O">
                    {v.io.known ? (
                      <>
                        {f.count(v.io.reads + v.io.writes)}/s{' '}
                        <span class="muted">{f.rate(v.io.bytes)}</span>
                      </>
                    ) : (
                      <span class="muted">–</span>
                    )}
                  </td>
                  <td data-label="Latency, p99">
                    <Latency v={v} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>

      {(tiered.length > 0 || s.classes.length > 0) && (
        <section class="card">
          <h2>Room</h2>
          <div class="tiers">
            {s.classes.map((c) => (
              <div class="tier" key={c.name}>
                <span>
                  class <strong>{c.name}</strong>
                </span>
                <Bar
                  label={`class ${c.name}`}
                  done={c.size - c.free}
                  total={c.size}
                  text={`${f.size(c.free)} of ${f.size(c.size)} free`}
                />
                <span class="muted">
                  {f.size(c.free)} of {f.size(c.size)} free
                </span>
              </div>
            ))}
            {tiered.flatMap((v) =>
              v.tiers.map((t) => (
                <div key={v.name + t.level}>
                  <span>{v.name}</span>
                  <TierBar v={v} t={t} />
                </div>
              )),
            )}
          </div>
        </section>
      )}

      {over.length > 0 && (
        <section class="card">
          <h2>Modifications that are over</h2>
          <ul class="plain">
            {over.map((m) => (
              <li key={m.id} class="row">
                <a href={`#/modification/${m.id}`}>
                  <strong>{m.volume}</strong> {goal(m)}
                </a>
                <span class="muted">
                  {f.phase(m.phase)} {m.finished > 0 && f.time(m.finished)}
                </span>
              </li>
            ))}
          </ul>
        </section>
      )}

      <section class="card">
        <h2>What happened</h2>
        <Events events={s.events} />
      </section>
    </>
  );
}
