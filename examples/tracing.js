// Spans of OpenTelemetry: of the request, of each callback of a filter, and of the http call that one makes, whose server is sent
// the `traceparent`. What is said about callbacks and calls comes from two tracing channels; without subscribers they
// cost nothing. Here the spans are written to the log.
//
// curl http://127.0.0.1:3000/private -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
// → 200 hello ali
// → log traceparent of the call: 00-0af7651916cd43dd8448eb211c80319c-
// → log span GET /private, in b7ad6b7169203331
// → log span proxy_on_request_headers, in GET /private
// → log span call 127.0.0.1, in proxy_on_request_headers
// → log span proxy_on_http_call_response, in call 127.0.0.1
import { AsyncLocalStorage } from 'node:async_hooks'
import { tracingChannel } from 'node:diagnostics_channel'
import { defaultTextMapGetter, ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const port = Number(process.env.PORT ?? 3000)
const host = process.env.HOST ?? '127.0.0.1'
const app = Fastify({ logger })

// In place of an exporter of OpenTelemetry's, which would send the spans somewhere.
const names = new Map()
const exporter = {
  export(spans, done) {
    for (const { name, parentSpanContext } of spans) {
      app.log.info(`span ${name}, in ${names.get(parentSpanContext?.spanId) ?? parentSpanContext?.spanId}`)
    }
    done({ code: 0 })
  },
  shutdown: async () => {}
}
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
const tracer = provider.getTracer('example')
const propagator = new W3CTraceContextPropagator()

/** The span that is under way, as OpenTelemetry's context. Where its own instrumentations are used, that is `context.active()`. */
const active = new AsyncLocalStorage()
/** By what a span is of: a request, or the message of a channel. */
const contexts = new WeakMap()

function begin(subject, name, parent) {
  const span = tracer.startSpan(name, {}, parent)
  names.set(span.spanContext().spanId, name)
  const context = trace.setSpan(parent, span)
  contexts.set(subject, context)
  return context
}

function end(subject) {
  trace.getSpan(contexts.get(subject))?.end()
}

function fail(message) {
  trace.getSpan(contexts.get(message))?.setStatus({ code: SpanStatusCode.ERROR, message: message.error.message })
}

/** What a callback or a call is a part of. */
function parentOf({ request }) {
  return active.getStore() ?? contexts.get(request) ?? ROOT_CONTEXT
}

app.addHook('onRequest', (request, reply, done) => {
  const parent = propagator.extract(ROOT_CONTEXT, request.headers, defaultTextMapGetter)
  begin(request, `${request.method} ${request.routeOptions.url}`, parent)
  reply.raw.once('close', () => end(request))
  done()
})

const callbacks = tracingChannel('fastify-wasm-gateway:callback')
callbacks.start.bindStore(active, (message) => begin(message, message.callback, parentOf(message)))
callbacks.subscribe({ end, error: fail })

const calls = tracingChannel('fastify-wasm-gateway:http_call')
calls.start.bindStore(active, (message) => {
  const context = begin(message, `call ${message.upstream.split(':')[0]}`, parentOf(message))
  propagator.inject(context, message.headers, { set: (headers, name, value) => headers.push(name, value) })
  return context
})
// What the filter does with the answer.
calls.asyncStart.bindStore(active, (message) => contexts.get(message))
calls.subscribe({ asyncEnd: end, error: fail })

await app.register(wasmGateway, {
  plugins: [{ name: 'wasm_forward_auth', file: 'fixtures/forward-auth/forward-auth.wasm' }]
})
const conf = { uri: `http://${host}:${port}/auth`, upstream_headers: ['x-user-id'] }
app.get('/private', { config: { wasm: { plugins: { wasm_forward_auth: { conf } } } } }, async (request) => {
  return `hello ${request.headers['x-user-id']}\n`
})
app.get('/auth', async (request, reply) => {
  request.log.info(`traceparent of the call: ${request.headers.traceparent}`)
  return reply.header('x-user-id', 'ali').send()
})

await app.listen({ port, host })
