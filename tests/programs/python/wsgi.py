"""Files of its folder, for servers that speak WSGI."""

PIECE = 16384


def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    headers = [("Content-Type", "application/octet-stream")]
    if environ["REQUEST_METHOD"] == "POST":
        length = environ.get("CONTENT_LENGTH") or 0
        body = environ["wsgi.input"].read(*([] if "HTTP_TRANSFER_ENCODING" in environ else [int(length)]))
    else:
        with open(name.removeprefix("chunked/"), "rb") as file:
            body = file.read()
    if name.startswith("chunked/"):
        start_response("200 OK", headers)
        return (body[at : at + PIECE] for at in range(0, len(body), PIECE))
    start_response("200 OK", headers + [("Content-Length", str(len(body)))])
    return [body]
