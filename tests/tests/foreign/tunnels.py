"""Connections that ask a proxy for answers first, and forty of them all at once for a tunnel to an echo then."""

import asyncio, collections, sys

TUNNELS, REQUESTS, MESSAGES = 40, 30, 20
proxy, echo = sys.argv[1:3]
told = collections.Counter()

async def answer(reader, writer, request):
    writer.write(f"{request} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = [line.split()[1] for line in head.splitlines() if line.startswith("Content-Length")]
    await reader.readexactly(int(length[0]) if length else 0)
    return head.splitlines()[0]

async def ask():
    reader, writer = await asyncio.open_connection(*proxy.split(":"))
    for _ in range(REQUESTS):
        told["answer: " + await answer(reader, writer, "GET /")] += 1
    return reader, writer

async def talk(barrier):
    reader, writer = await ask()
    await barrier.wait()
    told["tunnel: " + await answer(reader, writer, f"CONNECT {echo}")] += 1
    for number in range(MESSAGES):
        message = b"message %d" % number
        writer.write(message)
        try:
            echoed = await asyncio.wait_for(reader.readexactly(len(message)), 10)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            told[f"message {number}: {type(error).__name__}"] += 1
            break
        told["echo" if echoed == message else f"message {number}: {echoed}"] += 1
    writer.close()

async def main():
    for _ in range(4):
        _, writer = await ask()
        writer.close()
        await asyncio.sleep(0.05)
    barrier = asyncio.Barrier(TUNNELS)
    await asyncio.gather(*(talk(barrier) for _ in range(TUNNELS)))
    for what, times in sorted(told.items()):
        print(times, what)

asyncio.run(main())
