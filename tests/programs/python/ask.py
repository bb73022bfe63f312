"""Python's clients: `python3 ask.py WHICH http://IP:8080 keep|close ITEM…`."""

import asyncio
import hashlib
import sys

which, url, mode, *items = sys.argv[1:]
keep = mode != "close"
headers = {} if keep else {"Connection": "close"}


def with_requests(timeout):
    import requests

    session = requests.Session()
    return lambda method, url, body: session.request(
        method, url, data=body, headers=headers, timeout=timeout
    ).content


def with_httpx():
    import httpx

    client = httpx.Client()
    return lambda method, url, body: client.request(
        method, url, content=body, headers=headers
    ).content


def with_aiohttp():
    import aiohttp

    loop = asyncio.new_event_loop()

    async def session():
        return aiohttp.ClientSession()

    async def send(session, method, url, body):
        async with session.request(method, url, data=body, headers=headers) as response:
            return await response.read()

    session = loop.run_until_complete(session())
    return lambda method, url, body: loop.run_until_complete(send(session, method, url, body))


def with_urllib():
    from urllib.request import Request, urlopen

    # A new connection for each, as it is.
    return lambda method, url, body: urlopen(Request(url, body, headers, method=method)).read()


client = {
    "requests": lambda: with_requests(None),
    "requests-timeout": lambda: with_requests(30),
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "urllib": with_urllib,
}[which]()
for item in items:
    if item.startswith("+"):
        with open(item[1:], "rb") as file:
            answer = client("POST", url + "/", file.read())
    else:
        answer = client("GET", url + "/" + item, None)
    print(item, len(answer), hashlib.sha256(answer).hexdigest())
