package programs;

import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/** Spring Boot as it is by default, Tomcat inside, with files of its folder: {@code Spring --server.port=PORT}. */
@SpringBootApplication
@RestController
public class Spring {
    public static void main(String[] args) {
        SpringApplication.run(Spring.class, args);
    }

    @GetMapping("/{name}")
    byte[] file(@PathVariable String name) throws IOException {
        return Files.readAllBytes(Path.of(name));
    }

    @GetMapping("/chunked/{name}")
    void pieces(@PathVariable String name, HttpServletResponse response) throws IOException {
        response.flushBuffer();
        Files.copy(Path.of(name), response.getOutputStream());
    }

    @PostMapping("/")
    byte[] echo(@RequestBody(required = false) byte[] body) {
        return body == null ? new byte[0] : body;
    }
}
