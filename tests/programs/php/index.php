<?php
// Files of its folder over PHP's own server: `php -S 0.0.0.0:PORT index.php`.
$name = substr($_SERVER['REQUEST_URI'], 1);
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $body = file_get_contents('php://input');
} else {
    $body = file_get_contents(getcwd() . '/' . str_replace('chunked/', '', $name));
}
if (!str_starts_with($name, 'chunked/')) header('Content-Length: ' . strlen($body));
foreach ($body === '' ? [] : str_split($body, 16384) as $piece) {
    echo $piece;
    flush();
}
