// A line per log record that a person can read, in place of pino's JSON:
//   warn  wasm_log: run plugin ctx 1 with conf blahblah in http ctx 2
const LEVELS = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' }

export const logger = {
  level: 'info',
  stream: {
    write(record) {
      const { level, plugin, msg, req, res, responseTime } = JSON.parse(record)
      let text = plugin === undefined ? msg : `${plugin}: ${msg}`
      if (req !== undefined) text = `${req.method} ${req.url}`
      if (res !== undefined) text = `${res.statusCode} after ${responseTime.toFixed(1)} ms`
      process.stdout.write(`${LEVELS[level].padEnd(5)} ${text}\n`)
    }
  }
}
