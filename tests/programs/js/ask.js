// Node's two clients: `node ask.js http|fetch http://IP:8080 keep|close ITEM…`.
const { readFileSync } = require('fs')
const http = require('http')
const [which, url, mode, ...items] = process.argv.slice(2)
const keep = mode !== 'close'
const agent = new http.Agent({ keepAlive: keep, maxSockets: 1 })

const clients = {
  http: (url, method, body) => new Promise((resolve, reject) => {
    http.request(url, { agent, method }, response => {
      const pieces = []
      response.on('data', piece => pieces.push(piece))
      response.on('end', () => resolve(Buffer.concat(pieces)))
      response.on('error', reject)
    }).on('error', reject).end(body)
  }),
  fetch: async (url, method, body) => {
    const headers = keep ? {} : { connection: 'close' }
    return Buffer.from(await (await fetch(url, { method, body, headers })).arrayBuffer())
  },
}

async function main () {
  for (const item of items) {
    const posted = item.startsWith('+')
    const answer = await clients[which](url + '/' + (posted ? '' : item),
      posted ? 'POST' : 'GET', posted ? readFileSync(item.slice(1)) : undefined)
    const sum = require('crypto').createHash('sha256').update(answer).digest('hex')
    console.log(item, answer.length, sum)
  }
}

main().then(() => process.exit(0))
