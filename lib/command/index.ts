#!/usr/bin/env node
import { main } from './main.ts'

// It reloads a gateway, and must not end one that has yet to start.
if (process.argv[2] === 'run') process.on('SIGHUP', () => {})

// `… | head` has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

process.exitCode = await main(process.argv.slice(2))
