"""grpcio, messages of bytes: `python3 rpc.py serve PORT` and `python3 rpc.py ask IP:PORT FILE…`."""

import hashlib
import sys
from concurrent import futures

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(lambda messages, context: messages)


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Echo()])
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


def ask(to, *items):
    channel = grpc.insecure_channel(to)
    call = channel.unary_unary("/programs/Call")
    for item in items:
        say(item, call(read(item)))
    for item, answer in zip(items, channel.stream_stream("/programs/Stream")(map(read, items))):
        say(item, answer)


def read(item):
    with open(item, "rb") as file:
        return file.read()


def say(item, answer):
    print(item, len(answer), hashlib.sha256(answer).hexdigest())


{"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
