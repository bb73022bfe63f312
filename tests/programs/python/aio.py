"""Files of its folder over aiohttp, which is asyncio's: `python3 aio.py PORT`."""

import sys

from aiohttp import web


async def file(request):
    return web.FileResponse(request.match_info["name"])


async def pieces(request):
    with open(request.match_info["name"], "rb") as file:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while piece := file.read(16384):
            await response.write(piece)
    return response


async def echo(request):
    return web.Response(body=await request.read())


app = web.Application(client_max_size=1 << 30)
app.add_routes([web.get("/chunked/{name}", pieces), web.get("/{name}", file), web.post("/", echo)])
web.run_app(app, port=int(sys.argv[1]), print=None)
