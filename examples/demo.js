// What `npm start` loads beside the gateway of gateway.yaml: the server behind it, and curl lines to try.
//
// node --import ./examples/demo.js dist/command/index.js run examples/gateway.yaml
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'

// gateway.yaml takes these from the environment.
process.env.HOST ??= '127.0.0.1'
process.env.PORT ??= '9080'
process.env.ADMIN_PORT ??= '9180'
process.env.ADMIN_KEY ??= randomBytes(8).toString('hex')
process.env.UPSTREAM = await startUpstream()

const gateway = `http://${process.env.HOST}:${process.env.PORT}`
const admin = `http://127.0.0.1:${process.env.ADMIN_PORT}/apisix/admin`
const route = {
  uri: '/hello',
  plugins: { wasm_fault_injection: { conf: { http_status: 200, body: 'hello from a route of its own\n' } } }
}

process.stdout.write(`
The upstream is ${process.env.UPSTREAM}, the gateway in front of it ${gateway}. Try:

curl -i ${gateway}/log
→ 200 the upstream got GET /log
→ log run plugin ctx 1 with conf blahblah in http ctx 2

curl -i ${gateway}/fault
→ 401 HIT

curl -i ${gateway}/private -H 'authorization: 111'
→ 200 the upstream got GET /private

curl -i ${gateway}/private -H 'authorization: 222'
→ 403

curl -i ${gateway}/body -d hello
→ 200 the upstream got POST /body "hello"
→ log request get body: ell

curl -i ${gateway}/rewrite
→ 200 not what the upstream said
→ header x-wasm: apisix

curl -i ${gateway}/hello
→ 404 {"error_msg":"404 Route Not Found"}

curl -i ${admin}/routes/hello -H 'x-api-key: ${process.env.ADMIN_KEY}' -X PUT -d '${JSON.stringify(route)}'
→ 201 "key":"/apisix/routes/hello"

curl -i ${gateway}/hello
→ 200 hello from a route of its own

`)

/** Starts the server behind the gateway, on a port of its choice when 1980 is taken, and answers its address. */
async function startUpstream() {
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request
    const body = await text(request)
    if (url !== '/auth') response.end(`the upstream got ${method} ${url} ${JSON.stringify(body)}\n`)
    else response.writeHead(headers.authorization === '111' ? 200 : 401).end()
  })
  // The gateway decides when the process ends.
  server.unref()
  const listen = (port) =>
    new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
  await listen(1980).catch(() => listen(0))
  return `127.0.0.1:${server.address().port}`
}
