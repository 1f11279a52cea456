// Prints what PM2's own code prints. It is given the folder of PM2, reads requests, a
// JSON object in each line, and answers each with [standard output, standard error].
const path = require('path')
const pm2 = process.argv[2]

const RealDate = Date
let now = 0
global.Date = class extends RealDate {
	constructor(...args) { args.length ? super(...args) : super(now) }
	static now() { return now }
}

const UX = require(path.join(pm2, 'lib/API/UX'))
const Log = require(path.join(pm2, 'lib/API/Log.js'))
const passwd = require(path.join(pm2, 'lib/tools/passwd.js'))
passwd.getUsers = () => ({ 'www-data': { username: 'www-data', userId: '33' } })

const ansis = require.resolve('ansis', { paths: [pm2] })

class API {}
require(path.join(pm2, 'lib/API/Extra.js'))(API)
require(path.join(pm2, 'lib/API/LogManagement.js'))(API)

// client answers as a daemon that has this list, and on whose bus these events come.
const client = r => ({
	executeRemote: (method, _, cb) => cb(null, method === 'getReport' ? r.daemon : r.list),
	launchBus: cb => cb(null, {
		on: (name, f) => (r.events || []).forEach(e => {
			if (name === 'process:event' && e.event) f(e)
			if (name === 'log:*' && e.type) f(e.type, e)
		}),
	}, { on() {} }),
})

const print = {
	list: (r, api) => UX.list(r.list, { sort: r.sort }, r.host),
	mini: (r, api) => UX.list_min(r.list),
	describe: (r, api) => r.list.forEach(entry => UX.describe(entry)),
	env: (r, api) => api.env(r.list[0].pm_id),
	logs: (r, api) => api.printLogs(r.id, r.lines, false, false, 'both'),
	tail: (r, api, end) => Log.tail(r.files, r.lines, r.raw, end),
	stream: (r, api) => Log.stream(api.Client, 'all', r.raw, r.stamp, false, r.highlight),
	format: (r, api) => Log.formatStream(api.Client, 'all', false, r.stamp, false, r.highlight),
	json: (r, api) => Log.jsonStream(api.Client, 'all'),
	report: (r, api) => api.report(),
	// Whether there would be colours. It is decided as the library is loaded.
	colour: r => {
		const { argv } = process
		process.argv = ['node', 'pm2', ...r.args]
		process.stdout.isTTY = r.terminal
		delete require.cache[ansis]
		console.log(String(require(ansis).isSupported()))
		process.argv = argv
		process.stdout.isTTY = undefined
	},
}

const write = process.stdout.write.bind(process.stdout)
const answer = r => new Promise(done => {
	const printed = ['', '']
	process.stdout.write = text => (printed[0] += text, true)
	process.stderr.write = text => (printed[1] += text, true)
	process.stdout.columns = r.columns || undefined
	now = r.now
	const kept = { ...process.env }
	if (r.local) {
		for (const key in process.env) delete process.env[key]
		Object.assign(process.env, r.local)
	}
	const api = new API()
	api.Client = client(r)
	api.exitCli = () => setImmediate(end)
	const end = () => {
		Object.assign(process.env, kept)
		process.stdout.write = write
		write(JSON.stringify(printed) + '\n')
		done()
	}
	print[r.what](r, api, end)
	if (!['env', 'logs', 'tail', 'report'].includes(r.what)) setImmediate(end)
})

let last = Promise.resolve()
require('readline').createInterface({ input: process.stdin }).on('line', line => {
	last = last.then(() => answer(JSON.parse(line)))
})
