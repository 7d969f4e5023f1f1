#!/usr/bin/env bash
# Runs tests on the later versions of Node, from the npm package `node`: on each all of the host and of what users import,
# and a third of those of the gateway, which together is all of them. Not those of Redis, of a browser and of the
# command, which are about other programs and files.
# usage: .ci/other-nodes.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
versions=(22 24 26)

for i in "${!versions[@]}"; do
  version=${versions[i]}
  at=$folder/node$version
  mkdir -p "$at"
  npm install --silent --no-audit --no-fund --no-save --prefix "$at" "node@$version"
  # For the processes that tests start as well.
  export PATH="$at/node_modules/node/bin:$PATH"
  [[ $(node --version) = "v$version".* ]]
  run=(node --import tsx --test --test-reporter=dot --test-concurrency=2 --test-timeout=300000)
  "${run[@]}" test/host/*.test.ts test/host/*/*.test.ts test/testing/*.test.ts test/types/*.test.ts
  "${run[@]}" "--test-shard=$((i + 1))/${#versions[@]}" test/{apisix,config,conformance,gateway}/*.test.ts test/apisix/*/*.test.ts test/gateway/{admin,routes,upstream}/*.test.ts
done
