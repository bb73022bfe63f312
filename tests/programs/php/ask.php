<?php
// PHP's curl: `php -d extension=curl ask.php http://IP:8080 keep|close ITEM…`.
[, $url, $mode] = $argv;
$curl = curl_init();
foreach (array_slice($argv, 3) as $item) {
    curl_reset($curl);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_FORBID_REUSE => $mode === 'close']);
    if ($item[0] === '+') {
        curl_setopt($curl, CURLOPT_POSTFIELDS, file_get_contents(substr($item, 1)));
        curl_setopt($curl, CURLOPT_URL, "$url/");
    } else {
        curl_setopt($curl, CURLOPT_URL, "$url/$item");
    }
    $answer = curl_exec($curl);
    echo "$item ", $answer === false ? curl_error($curl) : strlen($answer) . ' ' . hash('sha256', $answer), "\n";
}
