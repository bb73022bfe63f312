//! Clients, of Go's net/http over an event loop.

use crate::program::{
    ASK, Program,
    Reader::{BlocksAtFirst, CountsUnread, NeverBlocks, PollsFirst, Sleeps, SleepsTolerant},
};

const fn client(name: &'static str, reader: crate::program::Reader, ask: &'static str) -> Program {
    Program::client(name, reader, ask)
}

pub const ALL: &[Program] = &[
    client("Go net/http", NeverBlocks, ASK),
    client(
        "Java HttpClient",
        NeverBlocks,
        "java programs.Ask HttpClient $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Java HttpURLConnection",
        SleepsTolerant,
        "java programs.Ask HttpURLConnection $URL $MODE $SIZES $CHUNKED $POSTS",
    )
    .short(),
    client(
        "Java InputStream.available()",
        CountsUnread,
        "java programs.Ask available $URL $MODE $SIZES",
    )
    .short(),
    client("OkHttp", BlocksAtFirst, "java programs.Ask OkHttp $URL $MODE $SIZES $CHUNKED $POSTS"),
    client(
        "Spring RestTemplate",
        SleepsTolerant,
        "java programs.Ask RestTemplate $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Node http",
        NeverBlocks,
        "node $SOURCES/js/ask.js http $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Node fetch",
        NeverBlocks,
        "node $SOURCES/js/ask.js fetch $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Python requests",
        Sleeps,
        "python3 $SOURCES/python/ask.py requests $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Python requests with a timeout",
        NeverBlocks,
        "python3 $SOURCES/python/ask.py requests-timeout $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Python httpx",
        NeverBlocks,
        "python3 $SOURCES/python/ask.py httpx $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Python aiohttp",
        NeverBlocks,
        "python3 $SOURCES/python/ask.py aiohttp $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "PHP curl",
        NeverBlocks,
        "php8.2 -d extension=curl $SOURCES/php/ask.php $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client(
        "Ruby Net::HTTP",
        NeverBlocks,
        "ruby $SOURCES/ruby/ask.rb $URL $MODE $SIZES $CHUNKED $POSTS",
    ),
    client("curl", NeverBlocks, "bash -eu $SOURCES/sh/curl $SIZES $CHUNKED $POSTS").short(),
    client("wget", PollsFirst, "bash -eu $SOURCES/sh/wget $SIZES $CHUNKED").short(),
    client(
        "ab",
        NeverBlocks,
        "[ $MODE = close ] || keep=-k
         for size in $(printf '%s\n' $SIZES | sort -u); do
             ab -q ${keep:-} -n 40 -c 4 $URL/$size | grep -E '^(Complete|Failed|HTML|Non)'
         done",
    ),
];
