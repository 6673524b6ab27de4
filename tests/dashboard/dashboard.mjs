// SPDX-License-Identifier: Apache-2.0
// See run. Each check is a named step; the first that fails ends the test with its name.
import { strict as assert } from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [shadowd, shadowctl, web, pictures, browserPath] = process.argv.slice(2);
const require = createRequire(join(web, 'package.json'));
const { chromium } = require('playwright-core');
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const folder = mkdtempSync(join(tmpdir(), 'shadow-dashboard-'));
const token = 'a'.repeat(16) + 'b'.repeat(16);
writeFileSync(join(folder, 'tokens'), `tester ${token}\n`, { mode: 0o600 });
let daemon;
let port = 0;

function startDaemon(at) {
  writeFileSync(
    join(folder, 'shadowd.toml'),
    `[daemon]\nstate_dir = "${folder}"\nsocket = "${folder}/s"\nreadonly_socket = ""\n` +
      `[http]\npage = "127.0.0.1:${at}"\nmetrics = ""\ntoken_file = "${folder}/tokens"\n`,
  );
  return new Promise((resolve, reject) => {
    daemon = spawn(shadowd, ['--simulate', '--no-story', '--config', join(folder, 'shadowd.toml')]);
    let log = '';
    daemon.stderr.on('data', (data) => {
      log += data;
      const match = /the page is on http:\/\/localhost:(\d+)\//.exec(log);
      if (match) resolve(Number(match[1]));
    });
    daemon.on('exit', (code) => reject(new Error(`shadowd ended with ${code}:\n${log}`)));
    daemon.log = () => log;
  });
}
async function stopDaemon(signal) {
  daemon.removeAllListeners('exit');
  const gone = new Promise((resolve) => daemon.once('exit', resolve));
  daemon.kill(signal);
  await gone;
}
const ctl = (...args) =>
  execFileSync(shadowctl, ['--socket', `${folder}/s`, ...args], { encoding: 'utf8', timeout: 30000 });

let name = '';
async function step(what, act) {
  name = what;
  const begin = Date.now();
  await act();
  console.log(`  ${what} (${Date.now() - begin} ms)`);
}

async function axe(page, where) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const result = await axe.run(document, { resultTypes: ['violations'] });
    return result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(', ')}`);
  });
  assert.deepEqual(found, [], `axe on ${where}`);
}

const picture = (page, file) =>
  page.screenshot({ path: join(pictures, `${file}.png`), fullPage: true });

async function press(page, button, { confirm = true, fill } = {}) {
  await page.getByRole('group', { name: 'What can be done' }).getByRole('button', { name: button, exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  if (fill) await fill(dialog);
  await dialog.getByRole('button', { name: confirm ? button : 'Cancel', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
}

async function test(browser) {
  const outside = [];
  const errors = [];
  const open = async (options = {}) => {
    const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(20000);
    page.on('request', (r) => {
      if (!r.url().startsWith(`http://localhost:${port}/`) && !r.url().startsWith('data:')) outside.push(r.url());
    });
    page.on('pageerror', (e) => errors.push(String(e)));
    page.on('console', (m) => {
      // A connection that breaks is said by the browser, too.
      if (m.type() === 'error' && !/Failed to load resource|ERR_/.test(m.text())) errors.push(m.text());
    });
    return page;
  };
  const home = () => `http://localhost:${port}/`;
  const page = await open();
  let id = '';

  await step('the overview says that all is well', async () => {
    await page.goto(home());
    await page.getByRole('heading', { level: 1, name: 'All is well: 3 volumes in service.' }).waitFor();
    for (const volume of ['db0', 'web', 'archive']) {
      await page.getByRole('rowheader', { name: volume }).waitFor();
    }
    await page.getByRole('row', { name: /db0/ }).getByText(/\d\/s/).waitFor();
    await axe(page, 'the overview');
    await picture(page, 'overview-quiet');
  });

  await step('a modification appears by itself, with its progress', async () => {
    ctl('volume', 'modify', 'db0', '--to', 'nvme', '--size', '+50%', '--rate', '100M');
    const link = page.getByRole('link', { name: /db0 moves from hdd to nvme/ });
    await link.waitFor();
    await page.getByRole('progressbar', { name: 'Progress of db0' }).waitFor();
    await page.getByText(/to go/).first().waitFor();
    await picture(page, 'overview');
    await axe(page, 'the overview with a modification');
    await link.click();
    await page.getByRole('heading', { level: 1, name: /db0 moves from hdd to nvme and grows/ }).waitFor();
    id = (await page.evaluate(() => location.hash)).split('/').pop();
  });

  await step('the modification shows phases, rate, latency and blocks', async () => {
    await page.locator('.phases [aria-current=step]').filter({ hasText: 'Copying' }).waitFor();
    await page.getByText('It is held at the').waitFor();
    await page.locator('.uplot canvas').nth(1).waitFor();
    await page.getByText(/each square is/).waitFor();
    await page.waitForFunction(() => /% on both/.test(document.querySelector('canvas.map').ariaLabel));
    const drawn = await page.evaluate(() => {
      const map = document.querySelector('canvas.map');
      const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
      const colors = new Set();
      for (let i = 0; i < pixels.length; i += 4) colors.add(pixels.slice(i, i + 3).join());
      return colors.size;
    });
    assert.ok(drawn >= 3, `the map has ${drawn} colours`);
    await axe(page, 'the modification');
  });

  await step('the map goes down to single blocks, with keys too', async () => {
    const map = page.locator('canvas.map');
    const says = page.locator('.cell');
    await map.focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    assert.match(await says.innerText(), /^Blocks [\d,]+ to [\d,]+, from/);
    for (let i = 0; i < 6 && (await page.getByRole('button', { name: 'Closer' }).isEnabled()); ++i) {
      const before = await page.getByText(/each square is/).innerText();
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('Enter');
      await page.waitForFunction(
        (b) => ![...document.querySelectorAll('p')].some((p) => p.textContent === b),
        before,
      );
    }
    await page.getByText(/each square is one block/).waitFor();
    await map.focus();
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction(() => /^Block \d/.test(document.querySelector('.cell').textContent));
    await page.getByRole('button', { name: 'Whole volume' }).click();
    await page.getByText('The whole volume; each square is').waitFor();
    await map.hover({ position: { x: 40, y: 20 } });
    await page.waitForFunction(() => /^Blocks /.test(document.querySelector('.cell').textContent));
  });

  await step('without a token nothing can be pressed', async () => {
    for (const button of ['Pause', 'Change the rate', 'Abort']) {
      assert.ok(await page.getByRole('button', { name: button, exact: true }).isDisabled(), button);
    }
  });

  await step('a wrong token is refused, a right one is kept', async () => {
    await page.getByRole('button', { name: 'Read only · sign in' }).click();
    await page.getByRole('textbox', { name: 'Token' }).fill('x'.repeat(32));
    await page.getByRole('dialog').getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'Without a valid token' }).waitFor();
    await axe(page, 'the dialog');
    await page.getByRole('textbox', { name: 'Token' }).fill(token);
    await page.getByRole('dialog').getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByRole('button', { name: 'tester · sign out' }).waitFor();
    await page.reload();
    await page.getByRole('button', { name: 'tester · sign out' }).waitFor();
  });

  await step('pause, rate and resume do what they say', async () => {
    await press(page, 'Pause', { confirm: false });
    assert.equal(JSON.parse(ctl('op', 'show', id, '-o', 'json')).phase, 'COPYING');
    await press(page, 'Pause');
    await page.getByText('Paused: nothing is copied').waitFor();
    await press(page, 'Change the rate', {
      fill: async (dialog) => {
        await picture(page, 'rate-dialog');
        await dialog.getByLabel(/^fixed/).check();
        await dialog.getByRole('spinbutton', { name: 'MiB/s' }).fill('60');
      },
    });
    await press(page, 'Resume');
    await page.getByText('It is held at the 60 MiB/s that were asked for.').waitFor();
    await press(page, 'Change the rate', { fill: (dialog) => dialog.getByLabel(/^low/).check() });
    await page.getByText(/60 MiB\/s/).waitFor({ state: 'detached' });
    assert.match(daemon.log(), /pause of modification \S+ asked for by tester \(token\) from 127\.0\.0\.1/);
  });

  await step('light, dark and a phone', async () => {
    await picture(page, 'modification');
    for (const [file, options] of [
      ['dark', { colorScheme: 'dark' }],
      ['phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
    ]) {
      const other = await open(options);
      for (const [where, hash] of [['overview', ''], ['modification', `#/modification/${id}`]]) {
        await other.goto(home() + hash);
        await other.getByRole('heading', { level: 1 }).waitFor();
        if (hash) await other.locator('.uplot canvas').nth(1).waitFor();
        if (hash) await other.waitForFunction(() => /%/.test(document.querySelector('canvas.map')?.ariaLabel ?? ''));
        const wide = await other.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.ok(wide <= 0, `${where} in ${file} is ${wide} pixels too wide`);
        await axe(other, `${where} in ${file}`);
        await picture(other, `${where}-${file}`);
        await other.goto('about:blank');
      }
      await other.context().close();
    }
  });

  await step('everything can be reached by keys', async () => {
    await page.goto(home());
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'To the content');
    const seen = new Set();
    for (let i = 0; i < 40; ++i) {
      await page.keyboard.press('Tab');
      seen.add(await page.evaluate(() => document.activeElement.textContent.trim()));
    }
    assert.ok([...seen].some((t) => /db0 moves from hdd/.test(t)), [...seen].join(' | '));
  });

  await step('abort', async () => {
    await page.goto(`${home()}#/modification/${id}`);
    await press(page, 'Abort');
    await page.getByText('db0 is back on hdd, with all its data.').waitFor();
  });

  await step('roll back, and commit', async () => {
    for (const [button, end] of [
      ['Roll back', /archive is back on hdd/],
      ['Commit', /Done, in/],
    ]) {
      ctl('volume', 'modify', 'archive', '--to', 'nvme', '--rate', '100G');
      await page.goto(home());
      await page.locator('.going').getByRole('link', { name: /archive moves/ }).click();
      await page.getByText('Both devices are kept current').waitFor({ timeout: 40000 });
      if (button === 'Commit') await picture(page, 'modification-grace');
      await press(page, button);
      await page.getByText(end).first().waitFor();
    }
    await picture(page, 'modification-completed');
  });

  await step('fifty pages at once', async () => {
    const streams = [];
    for (let i = 0; i < 50; ++i) {
      const stop = new AbortController();
      const response = await fetch(`${home()}api/stream`, { signal: stop.signal });
      assert.equal(response.status, 200);
      streams.push(stop);
    }
    const begin = Date.now();
    const other = await open();
    await other.goto(home());
    await other.getByRole('heading', { level: 1 }).waitFor();
    assert.ok(Date.now() - begin < 10000);
    await other.context().close();
    for (const s of streams) s.abort();
  });

  await step('a daemon that was killed is said to be away, and comes back', async () => {
    await page.goto(home());
    await page.getByRole('heading', { level: 1 }).waitFor();
    await stopDaemon('SIGKILL');
    await page.getByRole('status').filter({ hasText: 'No connection to shadowd' }).waitFor();
    await picture(page, 'stale');
    port = await startDaemon(port);
    await page.waitForFunction(() => document.querySelector('[role=status]').textContent === '');
    await page.getByRole('heading', { level: 1, name: 'All is well: 3 volumes in service.' }).waitFor();
  });

  assert.deepEqual(outside, [], 'nothing is loaded from outside');
  assert.deepEqual(errors, [], 'no error in the browser');
}

let code = 1;
try {
  port = await startDaemon(0);
  const browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
  try {
    await test(browser);
    code = 0;
    console.log('dashboard: every step is as it must be');
  } catch (error) {
    const pages = browser.contexts().flatMap((c) => c.pages());
    for (const p of pages.slice(0, 1)) {
      await p.screenshot({ path: join(pictures, 'failed.png'), fullPage: true }).catch(() => {});
    }
    throw error;
  } finally {
    await browser.close();
  }
} catch (error) {
  console.error(`dashboard: '${name}' failed: ${error.stack ?? error}`);
} finally {
  if (daemon?.exitCode === null) await stopDaemon('SIGTERM');
  rmSync(folder, { recursive: true, force: true });
}
process.exit(code);
