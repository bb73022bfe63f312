"""A client of the Container Runtime Interface at that socket: for each [METHOD, REQUEST] on a line of its
input, [ANSWER] or [null, ERROR] on one of its output."""

import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict

messages, services = grpc.protos_and_services("cri.proto")
# After a restart of the runtime it is to be there at once again.
often = [(f"grpc.{which}_reconnect_backoff_ms", 100) for which in ("initial", "min", "max")]
channel = grpc.insecure_channel("unix:" + sys.argv[1], options=often)
stubs = [services.RuntimeServiceStub(channel), services.ImageServiceStub(channel)]
methods = {
    method.name: (getattr(messages, method.input_type.name), stub)
    for service, stub in zip(("RuntimeService", "ImageService"), stubs)
    for method in messages.DESCRIPTOR.services_by_name[service].methods
}
for line in sys.stdin:
    name, request = json.loads(line)
    message, stub = methods[name]
    try:
        answer = getattr(stub, name)(
            ParseDict(request, message()), wait_for_ready=True, timeout=60
        )
        told = [MessageToDict(answer, preserving_proto_field_name=True)]
    except grpc.RpcError as error:
        told = [None, error.details()]
    print(json.dumps(told), flush=True)
