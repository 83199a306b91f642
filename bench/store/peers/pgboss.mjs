// pg-boss, with LISTEN/NOTIFY on, and a worker that goes on fetching while its batches come back full.
// Tuned: heartbeats at their least, looked after each second.

import { main, require, tasks } from './shape.mjs'

const { PgBoss } = require('pg-boss')

const options = (tuned) => ({
  batchSize: 500,
  burstWhenBatchFull: true,
  ...(tuned ? { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 } : {})
})
const started = async (connectionString, more) => {
  const boss = new PgBoss({ connectionString, ...more })
  boss.on('error', (error) => console.error(error))
  return boss.start()
}

await main({
  setup: async (connectionString) => {
    const boss = await started(connectionString, { supervise: false, schedule: false })
    for (const task of Object.keys(tasks)) await boss.createQueue(task, { notify: true })
  },
  work: async (connectionString, tuned) => {
    const supervision = tuned ? { superviseIntervalSeconds: 1, monitorIntervalSeconds: 1 } : {}
    const boss = await started(connectionString, { useListenNotify: true, ...supervision })
    if (tuned) for (const task of Object.keys(tasks)) await boss.updateQueue(task, { heartbeatSeconds: 10, retryDelay: 0 })
    for (const [name, task] of Object.entries(tasks)) {
      await boss.work(name, options(tuned), (jobs) => Promise.all(jobs.map((job) => task(job.data?.pipe))))
    }
  },
  producer: async (connectionString) => {
    const boss = await started(connectionString, { supervise: false, schedule: false })
    return {
      one: (task, pipe) => boss.send(task, { pipe }),
      many: (jobs) => boss.insert('noop', Array.from({ length: jobs }, () => ({ data: {} })))
    }
  }
})
