//! Clients, of Go's net/http over an event loop.

use crate::program::{
    ASK, Program,
    Reader::{BlocksAtFirst, CountsUnread, NeverBlocks, PollsFirst, Sleeps},
};

pub const ALL: &[Program] = &[
    Program::client("Go net/http", NeverBlocks, ASK),
    Program::client(
        "Java HttpClient",
        NeverBlocks,
        "java programs.Ask HttpClient $URL $MODE $ITEMS",
    ),
    Program::client(
        "Java HttpURLConnection",
        CountsUnread,
        "java programs.Ask HttpURLConnection $URL $MODE $ITEMS",
    )
    .short(),
    Program::client(
        "Java InputStream.available()",
        CountsUnread,
        "java programs.Ask available $URL $MODE $SIZES",
    ),
    Program::client("OkHttp", BlocksAtFirst, "java programs.Ask OkHttp $URL $MODE $ITEMS"),
    Program::client(
        "Spring RestTemplate",
        CountsUnread,
        "java programs.Ask RestTemplate $URL $MODE $ITEMS",
    ),
    Program::client("Node http", NeverBlocks, "node $SOURCES/js/ask.js http $URL $MODE $ITEMS"),
    Program::client("Node fetch", NeverBlocks, "node $SOURCES/js/ask.js fetch $URL $MODE $ITEMS"),
    Program::client(
        "Python requests",
        Sleeps,
        "python3 $SOURCES/python/ask.py requests $URL $MODE $ITEMS",
    ),
    Program::client(
        "Python requests with a timeout",
        NeverBlocks,
        "python3 $SOURCES/python/ask.py requests-timeout $URL $MODE $ITEMS",
    ),
    Program::client(
        "Python httpx",
        NeverBlocks,
        "python3 $SOURCES/python/ask.py httpx $URL $MODE $ITEMS",
    ),
    Program::client(
        "Python aiohttp",
        NeverBlocks,
        "python3 $SOURCES/python/ask.py aiohttp $URL $MODE $ITEMS",
    ),
    Program::client(
        "PHP curl",
        NeverBlocks,
        "php8.2 -d extension=curl $SOURCES/php/ask.php $URL $MODE $ITEMS",
    ),
    Program::client("Ruby Net::HTTP", NeverBlocks, "ruby $SOURCES/ruby/ask.rb $URL $MODE $ITEMS"),
    Program::client("curl", NeverBlocks, "bash -eu $SOURCES/sh/curl $ITEMS"),
    Program::client("wget", PollsFirst, "bash -eu $SOURCES/sh/wget $SIZES $CHUNKED").short(),
    Program::client(
        "ab",
        NeverBlocks,
        "[ $MODE = close ] || keep=-k
         for size in $(printf '%s\n' $SIZES | sort -u); do
             ab -q ${keep:-} -n 40 -c 4 $URL/$size | grep -E '^(Complete|Failed|HTML|Non)'
         done",
    ),
];
