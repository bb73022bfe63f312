"""Greets who connects to its port, and sends 6,000,000 bytes when asked."""

import asyncio, sys

async def talk(reader, writer):
    writer.write(b"hi!")
    if await reader.read(1):
        writer.write(bytes(6_000_000))
        await reader.read(1)
    writer.close()

async def main():
    server = await asyncio.start_server(talk, "0.0.0.0", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
