package programs;

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executors;

/** The JDK's own server, with files of its folder: {@code Sun PORT}. */
class Sun {
    public static void main(String[] args) throws Exception {
        var server = HttpServer.create(new InetSocketAddress(Integer.parseInt(args[0])), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            var path = exchange.getRequestURI().getPath().substring(1);
            var body = exchange.getRequestMethod().equals("POST")
                ? exchange.getRequestBody().readAllBytes()
                : Files.readAllBytes(Path.of(path.replace("chunked/", "")));
            // To it, 0 is chunked and -1 is nothing.
            var length = path.startsWith("chunked/") ? 0 : body.length == 0 ? -1 : body.length;
            exchange.sendResponseHeaders(200, length);
            try (var out = exchange.getResponseBody()) {
                out.write(body);
            }
        });
        server.start();
    }
}
