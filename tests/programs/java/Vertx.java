package programs;

import io.vertx.core.VertxOptions;
import io.vertx.core.buffer.Buffer;
import java.nio.file.Files;
import java.nio.file.Path;

/** Vert.x, which is Netty, with files of its folder: {@code Vertx nio|epoll PORT}. */
class Vertx {
    public static void main(String[] args) throws Exception {
        var epoll = args[0].equals("epoll");
        var vertx = io.vertx.core.Vertx.vertx(new VertxOptions().setPreferNativeTransport(epoll));
        if (vertx.isNativeTransportEnabled() != epoll) throw new Exception("no epoll", vertx.unavailableNativeTransportCause());
        vertx.createHttpServer().requestHandler(request -> {
            var path = request.path().substring(1);
            var response = request.response();
            request.body().onSuccess(body -> {
                try {
                    var chunked = path.startsWith("chunked/");
                    response.setChunked(chunked);
                    response.end(request.method().name().equals("POST")
                        ? body
                        : Buffer.buffer(Files.readAllBytes(Path.of(path.replace("chunked/", "")))));
                } catch (Exception e) {
                    response.setStatusCode(500).end();
                }
            });
        }).listen(Integer.parseInt(args[1]));
    }
}
