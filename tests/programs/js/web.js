// Files of its folder over Node's http: `node web.js PORT`.
const { createReadStream, readFileSync } = require('fs')

require('http').createServer((request, response) => {
  const name = request.url.slice(1)
  if (request.method === 'POST') {
    const pieces = []
    request.on('data', piece => pieces.push(piece))
    request.on('end', () => response.end(Buffer.concat(pieces)))
  } else if (name.startsWith('chunked/')) {
    createReadStream(name.slice(8)).pipe(response)
  } else {
    response.end(readFileSync(name))
  }
}).listen(Number(process.argv[2]))
