"""Files of its folder, for servers that speak ASGI."""

PIECE = 16384


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    name, body, more = scope["path"][1:], b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "GET":
        with open(name.removeprefix("chunked/"), "rb") as file:
            body = file.read()
    chunked = name.startswith("chunked/")
    length = [] if chunked else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    for at in range(0, len(body), PIECE) if chunked else []:
        await send({"type": "http.response.body", "body": body[at : at + PIECE], "more_body": True})
    await send({"type": "http.response.body", "body": b"" if chunked else body})
