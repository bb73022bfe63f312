"""Files of its folder over Flask's own server: `python3 flasked.py PORT`."""

import sys

from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/<name>")
def file(name):
    with open(name, "rb") as file:
        return Response(file.read())


@app.get("/chunked/<name>")
def pieces(name):
    return Response(open(name, "rb"))


@app.post("/")
def echo():
    return Response(request.get_data())


app.run("0.0.0.0", int(sys.argv[1]))
