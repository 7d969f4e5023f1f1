import type { Command, Option } from './command-line.ts'

const JSON_OPTION: Option = { type: 'boolean', what: 'prints one JSON document, for programs' }

/** All commands. Each is loaded when it is run: two of them need no Fastify. */
export const COMMANDS: readonly Command[] = [
  {
    name: 'run',
    files: '<config.yaml>',
    summary: 'starts a gateway',
    description: [
      'Starts a gateway from configuration files, which add up. It listens where `listen: { host, port }` says, by default on 127.0.0.1:9080, and serves the Admin API where `admin.listen` says, by default on 127.0.0.1:9180, when there is an `admin`.',
      'A changed file is put into effect at once, and so is everything on SIGHUP, the modules of filters included; what is not valid is logged, and changes nothing. `listen`, `admin`, `store`, `redis`, `metrics` and `inspector` are read at the start alone.',
      'SIGTERM or SIGINT: takes no more connections, answers the requests that are under way, and ends with 0, or with 1 when they take too long. A second signal ends it at once.',
      'Logs to standard output: lines of JSON, or on a terminal lines to read.'
    ],
    options: {
      'log-level': {
        type: 'string',
        value: '<level>',
        what: 'trace, debug, info (the default), warn, error, fatal or silent; requests are logged at info'
      },
      'drain-timeout': {
        type: 'string',
        value: '<seconds>',
        what: 'how long requests may take once it is to end; 25 by default'
      }
    },
    run: async (files, values) => (await import('./run.ts')).run(files, values)
  },
  {
    name: 'check',
    files: '<config.yaml>',
    summary: 'checks configuration files, and that filters accept their configurations',
    description: [
      'Validates configuration files, which add up, loads the modules that they name, and has each filter start with each of its configurations, in an instance of its own. Nothing is listened on, called or stored.',
      'Ends with 0 when all is well, with 1 when something is wrong.'
    ],
    options: { json: JSON_OPTION },
    run: async (files, values) => (await import('./check.ts')).check(files, values)
  },
  {
    name: 'inspect',
    files: '<filter.wasm>',
    summary: 'describes modules',
    description: [
      'Tells of each module its ABI version, what it seems to be made with, its size and memory, the callbacks that it exports, the host functions that it imports, and which of them this host lacks.',
      'Ends with 0, or with 1 when one of them is no module that this host can load.'
    ],
    options: { json: JSON_OPTION },
    run: async (files, values) => (await import('./inspect.ts')).inspect(files, values)
  }
]
