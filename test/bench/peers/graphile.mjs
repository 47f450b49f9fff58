// graphile-worker: graphile.mjs load DATABASE JOBS
//                  graphile.mjs work DATABASE PORT CONNECTIONS
// The settings are those of its own page on performance.
import { makeWorkerUtils, run } from 'graphile-worker'
import { atWork, mailer } from './mail.mjs'

const [what, connectionString, number, connections] = process.argv.slice(2)

if (what === 'load') {
	const utils = await makeWorkerUtils({ connectionString })
	await utils.migrate()
	for (let from = 1; from <= number; from += 5000)
		await utils.addJobs(Array.from(
			{ length: Math.min(5000, number - from + 1) },
			(_, i) => ({ identifier: 'mail', payload: { n: from + i } })))
	await utils.release()
} else {
	const send = mailer('127.0.0.1', Number(number), Number(connections))
	let runner
	await atWork(async () => {
		runner = await run({
			preset: {
				worker: {
					connectionString,
					concurrentJobs: 24,
					maxPoolSize: 25,
					localQueue: { size: 500 },
					completeJobBatchDelay: 0,
					failJobBatchDelay: 0,
				},
			},
			taskList: { mail: send },
			crontab: '',
			noHandleSignals: true,
		})
	}, () => runner.stop())
}
