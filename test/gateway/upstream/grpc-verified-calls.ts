// Run by grpc-calls.test.ts as a process of its own: whose certificates Node trusts is decided when it starts
// (NODE_EXTRA_CA_CERTS). Prints, for each upstream given as JSON, how a call to it was closed. That the process ends by
// itself, with its connections open, is a part of the test.
import { GrpcCalls } from '../../../lib/gateway/upstream/grpc-calls.ts'
import { Upstream } from '../../../lib/gateway/upstream/upstream.ts'
import { Upstreams } from '../../../lib/gateway/upstream/upstreams.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'

const results: string[] = []
for (const config of JSON.parse(process.argv[2]!)) {
  const log = new RecordingLogger()
  const upstream = new Upstream(config, log)
  const calls = new GrpcCalls(new Upstreams(() => upstream, log), log)
  const closed = await new Promise<string>((resolve) => {
    const call = { upstream: 'a', service: 'acme.Greeter', method: 'Greet', metadata: [], timeout: 5000 }
    const stream = calls.open(call, {
      holds: () => true,
      initialMetadata() {},
      message() {},
      trailingMetadata() {},
      close: (status, message) => resolve(`close ${status} ${message}`.trimEnd())
    })
    stream!.send(Buffer.from('a'), true)
  })
  results.push(closed)
}
process.stdout.write(JSON.stringify(results))
