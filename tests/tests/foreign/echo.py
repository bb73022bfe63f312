"""Sends what it reads."""

import asyncio, sys

async def echo(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()

async def main():
    server = await asyncio.start_server(echo, "0.0.0.0", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
