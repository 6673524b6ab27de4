// SPDX-License-Identifier: Apache-2.0
// node build.mjs WEB WORK OUT: checks the types, bundles WEB/src with the packages in
// WORK/node_modules, and writes the compressed files as C++ to OUT.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const [web, work, out] = process.argv.slice(2);
const require = createRequire(join(work, 'package.json'));
const esbuild = require('esbuild');

// Beside node_modules, where both the compiler and the bundler look for packages.
rmSync(join(work, 'src'), { recursive: true, force: true });
cpSync(join(web, 'src'), join(work, 'src'), { recursive: true });
cpSync(join(web, 'tsconfig.json'), join(work, 'tsconfig.json'));
execFileSync(process.execPath, [join(work, 'node_modules/typescript/bin/tsc'), '-p', work], {
  stdio: 'inherit',
});

mkdirSync(join(work, 'out'), { recursive: true });
await esbuild.build({
  entryPoints: [join(work, 'src/app.tsx'), join(work, 'src/app.css')],
  outdir: join(work, 'out'),
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2022'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  logLevel: 'warning',
});

const files = [
  ['/', 'text/html; charset=utf-8', join(work, 'src/index.html')],
  ['/app.js', 'text/javascript; charset=utf-8', join(work, 'out/app.js')],
  ['/app.css', 'text/css; charset=utf-8', join(work, 'out/app.css')],
  ['/icon.svg', 'image/svg+xml', join(work, 'src/icon.svg')],
];
const arrays = [];
const rows = [];
let total = 0;
files.forEach(([path, type, file], i) => {
  const content = readFileSync(file);
  const gzip = gzipSync(content, { level: 9 });
  total += gzip.length;
  const sum = createHash('sha256').update(content).digest('hex').slice(0, 16);
  arrays.push(`static const unsigned char kFile${i}[] = {${gzip.join(',')}};`);
  rows.push(`    {"${path}", "${type}", "\\"${sum}\\"", kFile${i}, sizeof(kFile${i})},`);
});
const most = 60_000;
if (total > most) throw new Error(`the page is ${total} bytes compressed; ${most} are allowed`);
writeFileSync(
  out,
  `// Made by daemon/http/web/build.mjs.
#include "daemon/http/assets.h"
namespace shadow::http {
${arrays.join('\n')}
const Asset kAssets[] = {
${rows.join('\n')}
};
const std::size_t kAssetCount = ${files.length};
}  // namespace shadow::http
`,
);
console.log(`the page: ${total} bytes compressed`);
