"""Connects some at a time, asks each a while later, and counts what comes."""

import asyncio, collections, sys

async def ask(at_once):
    async with at_once:
        reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
        await asyncio.sleep(0.3)
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 10)
            return answer.rsplit(b"\r\n", 1)[-1].decode() or "nothing"
        except Exception as error:
            return type(error).__name__
        finally:
            writer.close()

async def main():
    at_once = asyncio.Semaphore(8)
    said = await asyncio.gather(*(ask(at_once) for _ in range(100)))
    for answer, times in sorted(collections.Counter(said).items()):
        print(times, answer)

asyncio.run(main())
