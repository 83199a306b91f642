// graphile-worker, with the configuration that its page on performance gives for its own figures.

import { main, require, tasks } from './shape.mjs'

const { Logger, makeWorkerUtils, run } = require('graphile-worker')

const preset = {
  worker: { concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
}
const logger = new Logger(() => () => {})

await main({
  setup: async (connectionString) => {
    const utils = await makeWorkerUtils({ connectionString, logger })
    await utils.migrate()
    await utils.release()
  },
  work: (connectionString) =>
    run({
      preset,
      connectionString,
      logger,
      noHandleSignals: true,
      taskList: Object.fromEntries(Object.entries(tasks).map(([name, task]) => [name, ({ pipe }) => task(pipe)]))
    }),
  producer: async (connectionString) => {
    const utils = await makeWorkerUtils({ connectionString, logger })
    return {
      one: (task, pipe) => utils.addJob(task, { pipe }),
      many: (jobs) => utils.addJobs(Array.from({ length: jobs }, () => ({ identifier: 'noop', payload: {} })))
    }
  }
})
