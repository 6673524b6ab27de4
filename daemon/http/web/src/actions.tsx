// SPDX-License-Identifier: Apache-2.0
// What can be done with a token: each action says what it will do before it is done.
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import * as f from './format';
import type { Modification } from './types';

const kept = 'dm-shadow-token';
const token = signal(sessionStorage.getItem(kept) ?? '');
/** Name of who the token belongs to; '' without one. */
export const who = signal('');
const asking = signal(false);

async function call(path: string, body?: object, bearer = token.value): Promise<unknown> {
  const response = await fetch(path, {
    method: body ? 'POST' : 'GET',
    headers: {
      Authorization: `Bearer ${bearer}`,
      ...(body ? { 'Content-Type': 'application/json' } : {}),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const answer = (await response.json()) as { error?: string; hint?: string };
  if (!response.ok) {
    throw new Error([answer.error, answer.hint && `(${answer.hint})`].filter(Boolean).join(' '));
  }
  return answer;
}

async function login(given: string): Promise<void> {
  const answer = (await call('api/whoami', undefined, given)) as { name: string };
  token.value = given;
  sessionStorage.setItem(kept, given);
  who.value = answer.name;
}

export function startActions(): void {
  if (token.value) login(token.value).catch(logout);
}

function logout(): void {
  sessionStorage.removeItem(kept);
  token.value = '';
  who.value = '';
}

function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => ref.current?.showModal(), []);
  return (
    <dialog ref={ref} onClose={props.onClose} aria-labelledby="dialog-title">
      <h2 id="dialog-title">{props.title}</h2>
      {props.children}
    </dialog>
  );
}

/** A form in a dialog: `act` may fail, and then says why. */
function Ask(props: {
  title: string;
  button: string;
  danger?: boolean;
  children: ComponentChildren;
  act: (form: FormData) => Promise<void>;
  onClose: () => void;
}) {
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    try {
      await props.act(new FormData(event.target as HTMLFormElement));
      props.onClose();
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form onSubmit={submit}>
        {props.children}
        {error && (
          <p class="problem" role="alert">
            {error}
          </p>
        )}
        <div class="buttons">
          <button type="submit" class={props.danger ? 'danger' : 'primary'} disabled={busy}>
            {props.button}
          </button>
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function Login() {
  return (
    <>
      {who.value ? (
        <button type="button" class="quiet" onClick={logout}>
          {who.value} · sign out
        </button>
      ) : (
        <button type="button" class="quiet" onClick={() => (asking.value = true)}>
          Read only · sign in
        </button>
      )}
      {asking.value && (
        <Ask
          title="Sign in with a token"
          button="Sign in"
          onClose={() => (asking.value = false)}
          act={(form) => login(String(form.get('token')).trim())}
        >
          <p>
            A token lets you pause, resume and steer modifications. It is one of the lines of the file
            that <code>token_file</code> in <code>shadowd.toml</code> names. It is kept until you close
            this tab.
          </p>
          <label>
            Token
            <input name="token" type="password" autocomplete="off" required minLength={20} />
          </label>
        </Ask>
      )}
    </>
  );
}

interface Action {
  verb: string;
  label: string;
  danger?: boolean;
  /** What it will do, in sentences. */
  tells: string[];
}

/** What can be done with a modification in its phase. */
export function actionsFor(m: Modification): Action[] {
  const copying = ['COPYING', 'CATCHING_UP'].includes(m.phase);
  const early = ['PLANNED', 'PREPARING', 'COPYING', 'PAUSED', 'CATCHING_UP'].includes(m.phase);
  const back = `Reads and writes of ${m.volume} go on all the time.`;
  const all: (Action | false)[] = [
    copying && {
      verb: 'pause',
      label: 'Pause',
      tells: [
        'No more blocks are copied until it is resumed.',
        'Blocks that were copied stay current on both devices.',
        back,
      ],
    },
    m.phase === 'PAUSED' && {
      verb: 'resume',
      label: 'Resume',
      tells: [`The other ${f.size(Math.max(0, m.total - m.done))} are copied.`, back],
    },
    early && {
      verb: 'rate',
      label: 'Change the rate',
      tells: ['How fast blocks are copied, and how much that may slow the application down.'],
    },
    early && {
      verb: 'abort',
      label: 'Abort',
      danger: true,
      tells: [
        `${m.volume} stays on ${m.from}. The ${f.size(m.done)} that were copied are given up.`,
        'Blocks that only the target has are copied back first. Nothing is lost.',
        back,
      ],
    },
    m.phase === 'GRACE' && {
      verb: 'commit',
      label: 'Commit',
      danger: true,
      tells: [
        `${m.from} is detached from ${m.volume} now. There is no way back after that.`,
        `It would happen by itself at ${f.time(m.grace_ends)}.`,
        back,
      ],
    },
    m.phase === 'GRACE' && {
      verb: 'rollback',
      label: 'Roll back',
      danger: true,
      tells: [
        `${m.volume} goes back to ${m.from}, with everything that was written since.`,
        `Its place on ${m.to} is given up.`,
        back,
      ],
    },
  ];
  return all.filter((a) => a !== false);
}

function RateFields({ m }: { m: Modification }) {
  const [choice, setChoice] = useState<string>(m.fixed_rate > 0 ? 'fixed' : m.impact);
  const fixed = choice === 'fixed';
  const impacts: [string, string][] = [
    ['low', 'hardly slows the application'],
    ['balanced', 'some, for a faster copy'],
    ['full', 'as fast as it goes'],
  ];
  return (
    <fieldset>
      <legend>Rate</legend>
      {impacts.map(([name, what]) => (
        <label class="choice" key={name}>
          <input
            type="radio"
            name="impact"
            value={name}
            checked={choice === name}
            onChange={() => setChoice(name)}
          />
          {name}: {what}
        </label>
      ))}
      <label class="choice">
        <input
          type="radio"
          name="impact"
          value="fixed"
          checked={fixed}
          onChange={() => setChoice('fixed')}
        />
        fixed
      </label>
      <label>
        MiB/s
        <input
          name="mib"
          type="number"
          min="1"
          max="1048576"
          required={fixed}
          disabled={!fixed}
          value={m.fixed_rate > 0 ? Math.max(1, Math.round(m.fixed_rate / 1048576)) : 100}
        />
      </label>
    </fieldset>
  );
}

export function Actions({ m }: { m: Modification }) {
  const [open, setOpen] = useState('');
  const actions = actionsFor(m);
  if (actions.length === 0) return null;
  const action = actions.find((a) => a.verb === open);
  const act = async (form: FormData) => {
    const fixed = form.get('impact') === 'fixed';
    const rate = fixed ? Number(form.get('mib')) * 1048576 : 0;
    const impact = fixed ? m.impact : String(form.get('impact'));
    await call('api/do', {
      id: m.id,
      verb: open,
      ...(open === 'rate' ? { rate, impact } : {}),
    });
  };
  return (
    <div class="actions" role="group" aria-label="What can be done">
      {actions.map((a) => (
        <button
          type="button"
          key={a.verb}
          class={a.danger ? 'danger outline' : ''}
          disabled={!who.value}
          onClick={() => setOpen(a.verb)}
        >
          {a.label}
        </button>
      ))}
      {!who.value && (
        <span class="muted">
          <button type="button" class="link" onClick={() => (asking.value = true)}>
            Sign in
          </button>{' '}
          to use these, or use <code>shadowctl op</code>.
        </span>
      )}
      {action && (
        <Ask
          title={`${action.label}: ${m.volume}`}
          button={action.label}
          danger={action.danger ?? false}
          onClose={() => setOpen('')}
          act={act}
        >
          <ul>
            {action.tells.map((t) => (
              <li key={t}>{t}</li>
            ))}
          </ul>
          {open === 'rate' && <RateFields m={m} />}
        </Ask>
      )}
    </div>
  );
}
