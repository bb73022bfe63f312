import java.io.*;
import java.net.*;

/** Reads what is available, on twenty connections, one after the other. */
class Available {
    static final int SIZE = 6_000_000;

    public static void main(String[] args) throws Exception {
        for (int n = 0; n < 20; n++) System.out.println(read(args[0]));
    }

    static String read(String server) throws Exception {
        try (var socket = new Socket()) {
            socket.connect(new InetSocketAddress(server, 8092), 3000);
            socket.setSoTimeout(5000);
            var in = socket.getInputStream();
            in.readNBytes(3);
            socket.getOutputStream().write(1);
            int read = 0;
            for (int idle = 0; read < SIZE; ) {
                int available = in.available();
                if (available > 0) {
                    read += in.readNBytes(available).length;
                    idle = 0;
                } else if (idle++ < 3000) {
                    Thread.sleep(1);
                } else {
                    return "stops";
                }
            }
            return "all";
        }
    }
}
