// pg-boss: pgboss.mjs load DATABASE JOBS
//          pgboss.mjs work DATABASE PORT CONNECTIONS
// Batches by fetch() and complete(), because work() pauses between two of them.
import { PgBoss } from 'pg-boss'
import { atWork, mailer } from './mail.mjs'

const LOOPS = 2
const BATCH = 250
const [what, connectionString, number, connections] = process.argv.slice(2)
const boss = new PgBoss({
	connectionString, max: 10, supervise: false, schedule: false })

boss.on('error', error => { throw error })
await boss.start()
if (what === 'load') {
	await boss.createQueue('mail')
	for (let from = 1; from <= number; from += 5000)
		await boss.insert('mail', Array.from(
			{ length: Math.min(5000, number - from + 1) },
			(_, i) => ({ data: { n: from + i } })))
	await boss.stop()
} else {
	const send = mailer('127.0.0.1', Number(number), Number(connections))

	const loop = async () => {
		for (;;) {
			const jobs = await boss.fetch('mail', { batchSize: BATCH })
			if (jobs.length === 0)
				return
			await Promise.all(jobs.map(job => send(job.data)))
			await boss.complete('mail', jobs.map(job => job.id))
		}
	}
	await atWork(() => Promise.all(Array.from({ length: LOOPS }, loop)),
		() => boss.stop())
}
