// What both workers have in common: the mail, the pool, and when to begin and end.
import { createInterface } from 'node:readline'
import nodemailer from 'nodemailer'

export function mailer(host, port, connections) {
	const pool = nodemailer.createTransport({
		host, port, secure: false, ignoreTLS: true,
		pool: true, maxConnections: connections, maxMessages: Infinity,
	})
	return ({ n }) => pool.sendMail({
		from: 'Bench <bench@example.com>',
		to: { name: `First${n} Last${n}`, address: `burst${n}@example.com` },
		subject: `Happy birthday, First${n}!`,
		text: `Hey, First${n} Last${n} it's your birthday`,
	})
}

// Says that it is there, begins at the first line of standard input, stops at its
// end.
export async function atWork(begin, end) {
	console.log('ready')
	for await (const _ of createInterface({ input: process.stdin }))
		await begin()
	await end()
	process.exit(0)
}
