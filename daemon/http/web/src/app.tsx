// SPDX-License-Identifier: Apache-2.0
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { Login, startActions } from './actions';
import { ModificationPage } from './modification';
import { Overview } from './overview';
import { route, stale, start, state } from './state';

function App() {
  const s = state.value;
  const [page, id] = route.value.split('/');
  const title = page === 'modification' ? 'Modification' : 'Overview';
  useEffect(() => {
    document.title = s ? `${title} · ${s.host} · dm-shadow` : 'dm-shadow';
  }, [title, s?.host]);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => {
        e.preventDefault();
        document.getElementById('main')?.focus();
      }}>
        To the content
      </a>
      <header>
        <a href="#/" class="home" {...(page ? {} : { 'aria-current': 'page' as const })}>
          <img src="icon.svg" alt="" width="20" height="20" /> dm-shadow
        </a>
        {s && <span class="host">{s.host}</span>}
        <Login />
      </header>
      <div role="status" class={stale.value ? 'stale' : 'fresh'}>
        {stale.value}
      </div>
      <main id="main" tabIndex={-1} class={stale.value && s ? 'old' : ''}>
        {!s ? null : page === 'modification' && id ? (
          <ModificationPage key={id} s={s} id={id} />
        ) : (
          <Overview s={s} />
        )}
      </main>
      <footer>{s && `shadowd ${s.version}`}</footer>
    </>
  );
}

start();
startActions();
const root = document.getElementById('app');
if (root) render(<App />, root);
