package programs;

import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.concurrent.TimeUnit;
import okhttp3.ConnectionPool;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import org.springframework.http.HttpEntity;
import org.springframework.http.HttpMethod;
import org.springframework.web.client.RestTemplate;

/** Clients for HTTP: {@code Ask WHICH http://IP:8080 keep|close ITEM…}. */
class Ask {
    interface Client {
        /** The answer's body. No body is sent where that is null. */
        byte[] send(String url, byte[] body) throws Exception;
    }

    static boolean keep;

    public static void main(String[] args) throws Exception {
        keep = !args[2].equals("close");
        System.setProperty("http.keepAlive", Boolean.toString(keep));
        System.setProperty("jdk.httpclient.allowRestrictedHeaders", "connection");
        var client = switch (args[0]) {
            case "HttpClient" -> httpClient();
            case "HttpURLConnection" -> (Client) Ask::urlConnection;
            case "OkHttp" -> okHttp();
            case "RestTemplate" -> restTemplate();
            case "available" -> new Available(URI.create(args[1]));
            default -> throw new Exception(args[0]);
        };
        for (int i = 3; i < args.length; i++) {
            var posted = args[i].startsWith("+");
            var body = posted ? Files.readAllBytes(Path.of(args[i].substring(1))) : null;
            var answer = client.send(args[1] + "/" + (posted ? "" : args[i]), body);
            var sum = MessageDigest.getInstance("SHA-256").digest(answer);
            System.out.println(args[i] + " " + answer.length + " " + HexFormat.of().formatHex(sum));
        }
        // Some have threads that live on for a while.
        System.exit(0);
    }

    static Client httpClient() {
        var client = HttpClient.newHttpClient();
        return (url, body) -> {
            var request = HttpRequest.newBuilder(URI.create(url));
            if (!keep) request.header("Connection", "close");
            if (body != null) request.POST(HttpRequest.BodyPublishers.ofByteArray(body));
            return client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray()).body();
        };
    }

    static byte[] urlConnection(String url, byte[] body) throws Exception {
        var connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        if (body != null) {
            connection.setDoOutput(true);
            connection.setFixedLengthStreamingMode(body.length);
            connection.getOutputStream().write(body);
        }
        try (var in = connection.getInputStream()) {
            return in.readAllBytes();
        }
    }

    static Client okHttp() {
        var client = new OkHttpClient.Builder();
        if (!keep) client.connectionPool(new ConnectionPool(0, 1, TimeUnit.NANOSECONDS));
        var built = client.build();
        return (url, body) -> {
            var request = new Request.Builder().url(url);
            if (body != null) request.post(RequestBody.create(body));
            try (var response = built.newCall(request.build()).execute()) {
                return response.body().bytes();
            }
        };
    }

    static Client restTemplate() {
        var template = new RestTemplate();
        return (url, body) -> {
            var method = body == null ? HttpMethod.GET : HttpMethod.POST;
            var answer = template.exchange(url, method, new HttpEntity<>(body), byte[].class).getBody();
            return answer == null ? new byte[0] : answer;
        };
    }

    /** Reads only as much as {@code available()} says is there, as old code does. */
    static class Available implements Client {
        final URI server;
        Socket socket;

        Available(URI server) {
            this.server = server;
        }

        public byte[] send(String url, byte[] body) throws Exception {
            if (socket == null || !keep) {
                if (socket != null) socket.close();
                socket = new Socket();
                socket.connect(new InetSocketAddress(server.getHost(), server.getPort()), 3000);
                socket.setSoTimeout(5000);
            }
            var request = "GET " + URI.create(url).getPath() + " HTTP/1.1\r\nHost: it\r\n\r\n";
            socket.getOutputStream().write(request.getBytes());
            var read = "";
            int head;
            while ((head = read.indexOf("\r\n\r\n")) < 0) read += more();
            var length = Integer.parseInt(read.replaceAll("(?s).*Content-Length: (\\d+)\r.*", "$1"));
            var answer = new StringBuilder(read.substring(head + 4));
            while (answer.length() < length) answer.append(more());
            return answer.toString().getBytes(StandardCharsets.ISO_8859_1);
        }

        String more() throws Exception {
            var in = socket.getInputStream();
            while (in.available() == 0) Thread.sleep(1);
            return new String(in.readNBytes(in.available()), StandardCharsets.ISO_8859_1);
        }
    }
}
