// The shape of a Node peer's program, `node NAME.mjs setup|work|produce DSN [tuned]`: as shape.py.
// Its packages are in $BENCH_PACKAGES; $BENCH_CLOCK_OFFSET is what the bench's clock is ahead of ours, in seconds.

import { closeSync, openSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

export const require = createRequire(`${process.env.BENCH_PACKAGES}/`)

const OFFSET = Number(process.env.BENCH_CLOCK_OFFSET)
const now = () => Number(process.hrtime.bigint()) / 1e9 + OFFSET

const begin = (pipe) => {
  const line = `${process.pid} ${now()}\n`
  const fd = openSync(pipe, 'w')
  writeSync(fd, line)
  closeSync(fd)
}

export const tasks = {
  noop: async () => {},
  stamp: async (pipe) => begin(pipe),
  hold: (pipe) => {
    begin(pipe)
    return new Promise((done) => setTimeout(done, 3600_000))
  }
}

export const main = async (peer) => {
  const [verb, dsn, ...more] = process.argv.slice(2)
  switch (verb) {
    case 'setup':
      await peer.setup(dsn)
      process.exit()
    case 'work':
      return peer.work(dsn, more.includes('tuned'))
    case 'produce':
      return produce(await peer.producer(dsn))
  }
}

const produce = async (producer) => {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line)
    const at = now()
    if (order.singly) {
      for (let each = 0; each < order.singly; each++) await producer.one('noop', '')
    } else if (order['at once']) {
      await producer.many(order['at once'])
    } else {
      await producer.one(order.task, order.pipe)
    }
    console.log(JSON.stringify({ at, seconds: now() - at }))
  }
  process.exit()
}
