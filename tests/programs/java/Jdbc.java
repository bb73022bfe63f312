package programs;

import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DriverManager;
import java.util.HexFormat;

/** PostgreSQL's JDBC driver sends files to the server and gets them back: {@code Jdbc IP PORT keep|close FILE…}. */
class Jdbc {
    public static void main(String[] args) throws Exception {
        var url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/postgres?user=test";
        Connection connection = null;
        for (int i = 3; i < args.length; i++) {
            if (connection == null) connection = DriverManager.getConnection(url);
            var query = connection.prepareStatement("select ?::bytea");
            query.setBytes(1, Files.readAllBytes(Path.of(args[i])));
            var rows = query.executeQuery();
            rows.next();
            var answer = rows.getBytes(1);
            var sum = MessageDigest.getInstance("SHA-256").digest(answer);
            System.out.println(args[i] + " " + answer.length + " " + HexFormat.of().formatHex(sum));
            if (args[2].equals("close")) {
                connection.close();
                connection = null;
            }
        }
    }
}
