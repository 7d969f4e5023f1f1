#!/usr/bin/env bash
# Packs the package and uses it as its users do: installed in an empty application, by import, by require, by TypeScript, by
# its command.
# The application stays in FOLDER/app.
# usage: .ci/check-package.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
work=$1

npm run build
npx publint --strict
npm pack --ignore-scripts --silent --pack-destination "$work"
tarball=$(ls "$work"/*.tgz)
# A require is answered with ESM, as every supported version of Node can.
npx attw "$tarball" --profile node16 --ignore-rules cjs-resolves-to-esm --quiet

files=$(tar -tzf "$tarball")
if grep -vE '^package/(dist/.+|README\.md|LICENSE|package\.json)$' <<<"$files"; then
  echo 'the files above have no place in the package' >&2
  exit 1
fi
for name in dist/index.js dist/index.d.ts dist/host/index.js dist/testing/index.js dist/testing/index.d.ts dist/command/index.js README.md LICENSE package.json; do
  grep -qx "package/$name" <<<"$files" || { echo "the package lacks $name" >&2; exit 1; }
done

app=$work/app
mkdir -p "$app/filters"
cp .ci/app/* "$app"
cp fixtures/*/*.wasm examples/filters/*/*.wasm "$app/filters"
dev() { node -p "'$1@' + require('./package.json').devDependencies['$1']"; }
fastify=$(node -p "'fastify@' + require('./package.json').peerDependencies.fastify")
typescript=$(dev typescript) types=$(dev @types/node) pressure=$(dev @fastify/under-pressure)
typebox=$(node -p "'typebox@' + require('./package.json').dependencies.typebox")
cd "$app"
echo '{ "name": "app", "private": true, "type": "module" }' >package.json
npm install --silent --no-audit --no-fund "$tarball" "$fastify" "$typescript" "$types" "$pressure" "$typebox"
echo 'import'
node import.mjs
echo 'require'
node require.cjs
echo 'types'
npx tsc -p . --module esnext --moduleResolution bundler
for types_of_node in @types/node@24 @types/node@26 "$types"; do
  npm install --silent --no-audit --no-fund "$types_of_node"
  npx tsc -p .
done
echo 'command'
npx --no-install fastify-wasm-gateway --version
npx --no-install fastify-wasm-gateway inspect filters/log.wasm
npx --no-install fastify-wasm-gateway check gateway.yaml
node serve-command.mjs
