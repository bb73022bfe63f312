import java.io.*;
import java.net.Socket;

/** Connections that sleep in recv(2), one for each line of its input. */
class Sleeper {
    public static void main(String[] to) throws IOException {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        while (lines.readLine() != null) {
            try (var socket = new Socket(to[0], Integer.parseInt(to[1]))) {
                for (int round = 0; round < 100; round++) {
                    socket.getOutputStream().write(new byte[500]);
                    if (socket.getInputStream().readNBytes(500).length < 500) throw new EOFException();
                }
            }
            System.out.println("answered");
        }
    }
}
