"""Answers each request on its port with 2 MiB, in writes of 64 KiB."""

import asyncio, sys

BODY = bytes(n * n % 251 for n in range(1 << 16))

async def answer(reader, writer):
    while await reader.readline():
        while await reader.readline() != b"\r\n":
            pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * len(BODY)))
        for _ in range(32):
            writer.write(BODY)
            await writer.drain()

async def main():
    server = await asyncio.start_server(answer, "0.0.0.0", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
